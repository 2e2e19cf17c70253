"""The faces of an image as vectors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..space import as_images
from . import landmarks, recognition
from .alignment import square, upright
from .detector import FaceDetector
from .landmarks import FaceLandmarks
from .recognition import FaceRecognition

MIN_SIDE = 48
"""Longer side of the smallest face that is compared, in pixels: smaller ones are confused far more often."""

PROMINENT = 0.5
"""Size relative to the largest face of an image from which another one counts: not the people in the background."""

MAX_FACES = 4
"""Faces of one image that are compared at most, the largest first."""

_ROOM = 1.15  # the square in which eyes and mouth are looked for, relative to the box


@dataclass(frozen=True)
class ImageFaces:
    """The faces of one image.

    Attributes:
        vectors: (n, 128), the largest face first.
        boxes: of these faces, (n, 4): left, top, right and bottom in pixels.
        too_small: whether faces were found, and all of them are too small to compare.
    """

    vectors: Tensor
    boxes: Tensor
    too_small: bool = False


class FaceFinder:
    """All three networks."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        """Load the weights.

        Args:
            device: of the computation.

        Raises:
            ValueError: a file of weights is missing.
        """
        self._detector = FaceDetector(device)
        self._landmarks = FaceLandmarks(device)
        self._recognition = FaceRecognition(device)

    def __call__(self, image: Tensor) -> ImageFaces:
        """The prominent faces of an image (C, H, W) in 0 to 1.

        Raises:
            ValueError: another shape, or numbers that are not finite.
        """
        with torch.no_grad():
            whole = as_images(image[None])[0]
            boxes = self._detector(whole)
            sides = (boxes[:, 2:] - boxes[:, :2]).amax(1)
            order = sides.argsort(descending=True)
            large = order[sides[order] >= max(MIN_SIDE, PROMINENT * max(sides.tolist(), default=0.0))][:MAX_FACES]
            boxes = boxes[large]
            return ImageFaces(self._vectors(whole, boxes), boxes, too_small=len(order) > 0 and not len(large))

    def _vectors(self, image: Tensor, boxes: Tensor) -> Tensor:
        if not len(boxes):
            return torch.zeros(0, FaceRecognition.dimension)
        middles, lengths = (boxes[:, :2] + boxes[:, 2:]) / 2, _ROOM * (boxes[:, 2:] - boxes[:, :2]).amax(1)
        rough = [
            square(image, middle, float(length), landmarks.SIDE)
            for middle, length in zip(middles, lengths, strict=True)
        ]
        points = self._landmarks(torch.stack(rough)).cpu()
        points = middles[:, None] + (points - 0.5) * lengths[:, None, None]
        faces = [upright(image, each, recognition.SIDE) for each in points]
        return self._recognition(torch.stack(faces)).cpu()
