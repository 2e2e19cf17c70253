"""dlib's face recognition network: a face as 128 numbers, near those of the same person's other photographs.

A residual network (arXiv 1512.03385) with 29 convolutions, trained by Davis King so that photographs of one person lie
within a ball of radius 0.6. docs/same_face.md says how often it errs.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d, pad

from .weights import MEAN_COLOUR, Layers

SIDE = 150
"""Side of the square in which a face is looked at, in pixels."""

_HALVING = {3, 7, 10, 13}  # of the 14 blocks


class FaceRecognition:
    """The network."""

    dimension = 128

    def __init__(self, device: torch.device | str = "cpu") -> None:
        """Load the weights.

        Args:
            device: of the computation.

        Raises:
            ValueError: the file of weights is missing.
        """
        self._layers = Layers("recognition", device)

    def __call__(self, faces: Tensor) -> Tensor:
        """Vectors (B, 128) of aligned faces (B, 3, SIDE, SIDE) in 0 to 1; their distances say how alike faces are."""
        maps = self._layers("stem", self._layers.centred(faces, MEAN_COLOUR, 256), stride=2)
        maps = max_pool2d(maps.relu(), 3, 2)
        for number in range(14):
            maps = self._block(f"blocks.{number}", maps, halves=number in _HALVING)
        return self._layers("head", maps.mean((2, 3), keepdim=True)).flatten(1)

    def _block(self, name: str, maps: Tensor, halves: bool) -> Tensor:
        """Two convolutions, added to what came in; the smaller of the two is padded with zeros at its end."""
        inner = self._layers(f"{name}.0", maps, stride=2 if halves else 1, padding=0 if halves else 1).relu()
        inner = self._layers(f"{name}.1", inner, padding=1)
        outer = avg_pool2d(maps, 2) if halves else maps
        sizes = [max(pair) for pair in zip(inner.shape[1:], outer.shape[1:], strict=True)]
        return (_padded(inner, sizes) + _padded(outer, sizes)).relu()


def _padded(maps: Tensor, sizes: list[int]) -> Tensor:
    channels, height, width = (wanted - had for wanted, had in zip(sizes, maps.shape[1:], strict=True))
    return pad(maps, (0, width, 0, height, 0, channels))
