"""Where faces are: a small convolutional network with five boxes at every cell, after YOLOv2 (arXiv 1612.08242).

The network is face-api.js's *tiny face detector*: six convolutions, all but the first of them separable.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate, leaky_relu, max_pool2d, pad

from .weights import Layers

SIDES = (96, 192, 416)
"""The longer side that an image is scaled to, in pixels, one after another: faces that fill it are found at the first,
small ones at the last."""

MEAN_COLOUR = (117.001, 114.697, 97.404)
"""Mean RGB of the training images, of 255."""

ANCHORS = ((1.603231, 2.094468), (6.041143, 7.080126), (2.882459, 3.518061), (4.266906, 5.178857), (9.041765, 10.66308))
"""Width and height of the five boxes, in cells."""

CERTAIN = 0.6
"""Certainty from which a box is a face."""

OVERLAP = 0.6
"""Share of the smaller of two boxes that lies in the other, above which they are one face."""

_CELL = 32


class FaceDetector:
    """The network."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        """Load the weights.

        Args:
            device: of the computation.

        Raises:
            ValueError: the file of weights is missing.
        """
        self._layers = Layers("detector", device)

    def __call__(self, image: Tensor) -> Tensor:
        """Faces of an image (3, H, W) in 0 to 1, the most certain first.

        Returns:
            Boxes (n, 4), float32: left, top, right and bottom in pixels of the image.
        """
        looked = [self._boxes_at(image, side) for side in SIDES]
        boxes, scores = (torch.cat(parts) for parts in zip(*looked, strict=True))
        boxes = boxes[scores.argsort(descending=True)]
        return boxes[_apart(boxes)]

    def maps(self, squares: Tensor) -> Tensor:
        """Five numbers of five boxes at every cell, (B, 25, S / 32, S / 32), of images (B, 3, S, S) in 0 to 1."""
        maps = leaky_relu(self._layers("stem", self._layers.centred(squares, MEAN_COLOUR)), 0.1)
        for number in range(5):
            maps = self._layers(f"blocks.{number}.depthwise", max_pool2d(maps, 2, ceil_mode=True), padding=1)
            maps = leaky_relu(self._layers(f"blocks.{number}.pointwise", maps), 0.1)
        return self._layers("head", max_pool2d(pad(maps, (0, 1, 0, 1), value=-torch.inf), 2, 1))

    def _boxes_at(self, image: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """The certain boxes (n, 4) and their certainty (n,), of an image scaled into the corner of a square."""
        scale = side / max(image.shape[-2:])
        high, wide = (max(1, round(length * scale)) for length in image.shape[-2:])
        small = interpolate(image[None].to(self._layers.device), (high, wide), mode="bilinear", antialias=True)
        boxes, scores = _decoded(self.maps(pad(small, (0, side - wide, 0, side - high)))[0].cpu())
        return boxes[scores >= CERTAIN] / scale, scores[scores >= CERTAIN]


def _decoded(maps: Tensor) -> tuple[Tensor, Tensor]:
    """All boxes (n, 4) in pixels of the square, and their certainty (n,), of maps (25, cells, cells)."""
    cells = maps.shape[-1]
    x, y, wide, high, score = maps.view(len(ANCHORS), 5, cells, cells).unbind(1)
    place = torch.arange(cells, dtype=torch.float32)
    centre = torch.stack([x.sigmoid() + place, y.sigmoid() + place[:, None]], -1)
    half = torch.stack([wide, high], -1).exp() * torch.tensor(ANCHORS)[:, None, None] / 2
    return torch.cat([centre - half, centre + half], -1).view(-1, 4) * _CELL, score.sigmoid().flatten()


def _apart(boxes: Tensor) -> list[int]:
    """Numbers of the boxes (n, 4) that lie in none before them."""
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    kept: list[int] = []
    for number, box in enumerate(boxes):
        others = boxes[kept]
        shared = (torch.minimum(box[2:], others[:, 2:]) - torch.maximum(box[:2], others[:, :2])).clamp(min=0).prod(1)
        if not bool((shared > OVERLAP * torch.minimum(area[number], area[kept])).any()):
            kept.append(number)
    return kept
