"""Pairs of images that are told at a glance: equal pixels, and images without content."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import torch
from torch import Tensor

from .thumbnails import CopyThumbnails

LIMIT = 0.7
"""Residual below which one image is a copy of the other: docs/near_duplicates.md has the error rates."""

_BLANK = 2 / 255  # contrast of an image without content
_SAME_COLOUR = 0.1  # difference of colours that are the limit's
_BLOCK = 256


@dataclass(frozen=True)
class Glance:
    """What is seen of n images at a glance.

    Attributes:
        digests: equal for equal pixels, (n,), int64.
        empty: which have no content at all, (n,).
        colours: mean RGB, 0 to 1, (n, 3).
    """

    digests: Tensor
    empty: Tensor
    colours: Tensor

    @classmethod
    def at(cls, thumbnails: CopyThumbnails) -> Glance:
        """Look at all images."""
        digests = [blake2b(image.numpy().tobytes(), digest_size=8).digest() for image in thumbnails.pixels]
        colours, empty = torch.empty(len(thumbnails), 3), torch.empty(len(thumbnails), dtype=torch.bool)
        for start in range(0, len(thumbnails), _BLOCK):
            place = slice(start, start + _BLOCK)
            pixels = thumbnails.pixels[place].float().flatten(2) / 255
            deviations, colours[place] = torch.std_mean(pixels, 2, correction=0)
            empty[place] = deviations.amax(1) < _BLANK
        numbers = [int.from_bytes(digest, "big", signed=True) for digest in digests]
        return cls(torch.tensor(numbers, dtype=torch.int64), empty, colours)

    def residuals(self, pairs: Tensor) -> Tensor:
        """Residuals of pairs (P, 2), shape (P,); NaN for those that must be looked at closely."""
        first, second = pairs.unbind(1)
        differences = (self.colours[first] - self.colours[second]).abs().amax(1) * LIMIT / _SAME_COLOUR
        told = torch.where(self.empty[pairs].all(1), differences, torch.nan)
        return torch.where(self.digests[first] == self.digests[second], 0.0, told)
