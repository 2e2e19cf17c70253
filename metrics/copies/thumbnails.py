"""What is kept of an image to compare it with others: a small copy in luma and chroma."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ...features.space import as_images

SIDE = 96
"""Side of a thumbnail in pixels; an image is scaled to a square of it whatever its shape."""

_LUMA_CHROMA = ((0.299, 0.587, 0.114), (-0.169, -0.331, 0.5), (0.5, -0.419, -0.081))  # BT.601


@dataclass(frozen=True)
class CopyThumbnails:
    """Small copies of images.

    Attributes:
        pixels: RGB, uint8, shape (n, 3, SIDE, SIDE).
        sides: the shorter side of each image in pixels, shape (n,); 0 for an image that could not be read.
    """

    pixels: Tensor
    sides: Tensor

    @classmethod
    def stored(cls, pixels: Tensor) -> CopyThumbnails:
        """Room for n images, none of them read yet, in a uint8 tensor (n, 3, SIDE, SIDE) of zeros."""
        return cls(pixels, torch.zeros(len(pixels), dtype=torch.int32))

    @classmethod
    def of(cls, images: Sequence[Tensor]) -> CopyThumbnails:
        """Of images (C, H, W) in 0 to 1, whose sizes may differ; one that is not finite counts as unreadable."""
        made = cls.stored(torch.zeros(len(images), 3, SIDE, SIDE, dtype=torch.uint8))
        for row, image in enumerate(images):
            if bool(image[:3].isfinite().all()):
                made.put([row], image[None])
        return made

    def __len__(self) -> int:
        return len(self.sides)

    def put(self, rows: Sequence[int], images: Tensor) -> None:
        """Keep images (B, C, H, W) in 0 to 1 under these numbers."""
        small = interpolate(as_images(images), (SIDE, SIDE), mode="bilinear", antialias=True)
        self.pixels[list(rows)] = (small * 255).round().to("cpu", torch.uint8)
        self.sides[list(rows)] = min(images.shape[-2:])

    def take(self, rows: Tensor) -> CopyThumbnails:
        """Those of these numbers, in order; without a copy if it is all of them."""
        if len(rows) == len(self):
            return self
        return CopyThumbnails(self.pixels[rows], self.sides[rows])

    def luma_chroma(self, rows: Tensor | Sequence[int]) -> Tensor:
        """Luma and two chroma channels, float32, shape (len(rows), 3, SIDE, SIDE)."""
        return self._mixed(rows, _LUMA_CHROMA)

    def luma(self, rows: Tensor | Sequence[int]) -> Tensor:
        """Luma alone, float32, shape (len(rows), 1, SIDE, SIDE)."""
        return self._mixed(rows, _LUMA_CHROMA[:1])

    def _mixed(self, rows: Tensor | Sequence[int], mixing: Sequence[Sequence[float]]) -> Tensor:
        return (torch.tensor(mixing) @ (self.pixels[rows].float() / 255).flatten(2)).unflatten(2, (SIDE, SIDE))
