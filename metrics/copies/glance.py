"""Pairs of images that are told at a glance: equal pixels, and images without content."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import torch
from torch import Tensor

from ...features.work_ahead import work_ahead
from .thumbnails import CopyThumbnails

LIMIT = 0.7
"""Residual below which one image is a copy of the other: docs/near_duplicates.md has the error rates."""

_BLANK = 2  # contrast of an image without content, in levels
_SAME_COLOUR = 0.1  # difference of colours that are the limit's
_BLOCK = 32  # images that fit in a processor's cache as numbers


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
        digests = torch.empty(len(thumbnails), dtype=torch.int64)
        colours, empty = torch.empty(len(thumbnails), 3), torch.empty(len(thumbnails), dtype=torch.bool)

        def look(start: int) -> None:
            place = slice(start, start + _BLOCK)
            pixels = thumbnails.pixels[place]
            hashes = [blake2b(image, digest_size=8).digest() for image in pixels.numpy()]
            digests[place] = torch.tensor([int.from_bytes(each, "big", signed=True) for each in hashes])
            levels = pixels.flatten(2).float()
            means = levels.mean(2)
            deviations = (levels - means[:, :, None]).square().mean(2).sqrt()
            colours[place], empty[place] = means / 255, deviations.amax(1) < _BLANK

        for _, done in work_ahead(range(0, len(thumbnails), _BLOCK), look):
            done()
        return cls(digests, empty, colours)

    def residuals(self, pairs: Tensor) -> Tensor:
        """Residuals of pairs (P, 2), shape (P,); NaN for those that must be looked at closely."""
        first, second = pairs.unbind(1)
        differences = (self.colours[first] - self.colours[second]).abs().amax(1) * LIMIT / _SAME_COLOUR
        told = torch.where(self.empty[pairs].all(1), differences, torch.nan)
        return torch.where(self.digests[first] == self.digests[second], 0.0, told)
