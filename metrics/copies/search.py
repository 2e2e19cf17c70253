"""Pairs of images of which one is a copy of the other."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..measures.pairs import Pair
from .alignment import blur, refined, views, windows
from .residual import residual
from .thumbnails import CopyThumbnails

LIMIT = 0.7
"""Residual below which one image is a copy of the other: docs/near_duplicates.md has the error rates."""

ALIKE = 0.5
"""Correlation of the best windows below which a pair is not looked at any further, at the usual limit."""

_BLANK = 2 / 255  # contrast of an image without content
_SAME_COLOUR = 0.1  # difference of colours that are the limit's

STARTS = 3
"""Windows from which the alignment of a pair begins."""

_BLOCK = 64  # images whose views are in memory at once, twice
_PAIRS = 256
_ALIGNED = 32
_SHARPEST, _BLURRIEST, _SHARP_SIDE = 1.0, 4.0, 140


def copies(thumbnails: CopyThumbnails, limit: float = LIMIT, pairs: Tensor | None = None) -> list[Pair]:
    """Pairs of images whose residual is below a limit, in order; their distance is the residual.

    Args:
        thumbnails: of the images; those that could not be read are in no pair.
        limit: of the residual.
        pairs: of numbers to look at, shape (P, 2); None for all.
    """
    found: list[Pair] = []
    if limit <= 0:
        return found
    for tile in _tiles(len(thumbnails)) if pairs is None else pairs.sort(1).values.split(_BLOCK):
        readable = tile[(thumbnails.sides[tile] > 0).all(1)]
        if not len(readable):
            continue
        blank, left = _blank(thumbnails, readable)
        found += [Pair(i, j, share) for (i, j), share in zip(readable[blank].tolist(), left.tolist(), strict=True)]
        for chosen, starts in _alike(thumbnails, readable[~blank], ALIKE * min(1.0, LIMIT / limit)):
            left = _residuals(thumbnails, chosen, starts)
            found += [Pair(i, j, share) for (i, j), share in zip(chosen.tolist(), left.tolist(), strict=True)]
    return sorted((pair for pair in found if pair.distance < limit), key=lambda pair: (pair.first, pair.second))


def _tiles(count: int) -> Iterator[Tensor]:
    """All pairs i < j, by blocks of images."""
    for top in range(0, count, _BLOCK):
        rows = torch.arange(top, min(top + _BLOCK, count))
        for left in range(top, count, _BLOCK):
            pairs = torch.cartesian_prod(rows, torch.arange(left, min(left + _BLOCK, count)))
            yield pairs[pairs[:, 0] < pairs[:, 1]]


def _blank(thumbnails: CopyThumbnails, pairs: Tensor) -> tuple[Tensor, Tensor]:
    """Which pairs (P, 2) have no content at all, (P,), and the difference of their colours in units of residuals."""
    images, places = pairs.unique(return_inverse=True)
    pixels = thumbnails.pixels[images].float().flatten(2) / 255
    empty = (pixels.std(2).amax(1) < _BLANK)[places].all(1)
    first, second = pixels.mean(2)[places[empty]].unbind(1)
    return empty, (first - second).abs().amax(1) * LIMIT / _SAME_COLOUR


def _alike(thumbnails: CopyThumbnails, pairs: Tensor, least: float) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs (P, 2) whose best windows correlate at least so much, and their best starts (P, STARTS)."""
    if not len(pairs):
        return
    images, places = pairs.unique(return_inverse=True)
    seen = views(thumbnails.luma_chroma(images)[:, :1])
    whole = seen[:, 0]
    side = round(whole.shape[1] ** 0.5)
    mirrored = whole.view(-1, side, side).flip(2).flatten(1)
    for part, at in zip(pairs.split(_PAIRS), places.split(_PAIRS), strict=True):
        # Windows of the first image on the second, and on it mirrored; then those of the second on the first.
        scores = torch.cat(
            [
                (seen[at[:, source]] @ target[at[:, 1 - source], :, None])[:, :, 0]
                for source in (0, 1)
                for target in (whole, mirrored)
            ],
            1,
        )
        best = scores.topk(STARTS)
        alike = best.values[:, 0] >= least
        for chosen, starts in zip(part[alike].split(_ALIGNED), best.indices[alike].split(_ALIGNED), strict=True):
            if len(chosen):
                yield chosen, starts


def _residuals(thumbnails: CopyThumbnails, pairs: Tensor, starts: Tensor) -> Tensor:
    """The smallest residual of each pair (P, 2) from its starts (P, STARTS), before and after refinement."""
    known = windows()
    kinds, places = starts.flatten() // len(known), known[starts.flatten() % len(known)]
    rows = pairs.repeat_interleave(starts.shape[1], 0)
    swapped = kinds >= 2
    source = thumbnails.luma_chroma(torch.where(swapped, rows[:, 1], rows[:, 0]))
    target = thumbnails.luma_chroma(torch.where(swapped, rows[:, 0], rows[:, 1]))
    target = torch.where((kinds % 2 == 1)[:, None, None, None], target.flip(3), target)
    sigmas = (_SHARP_SIDE / thumbnails.sides[rows].amin(1)).clamp(_SHARPEST, _BLURRIEST)
    better = refined(source[:, :1], target[:, :1], places)
    source, target = (
        torch.cat([blur(image[None], sigma) for image, sigma in zip(each, sigmas.tolist(), strict=True)])
        for each in (source, target)
    )
    left = torch.minimum(*(residual(source, target, each) for each in (places, better)))
    return left.view(starts.shape).amin(1)
