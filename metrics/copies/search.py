"""Pairs of images of which one is a copy of the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from ...features.work_ahead import work_ahead
from ..measures.pairs import Pair
from .alignment import blur, half_size, refined, windows
from .candidates import alike_pairs
from .glance import LIMIT, Glance
from .residual import residual
from .thumbnails import CopyThumbnails

ALIKE = 0.5
"""Correlation of the best windows below which a pair is not looked at any further, at the usual limit."""

HOPELESS, UNLIKE = 2.0, 1.8
"""Residuals of two blurred images, before and after their windows are moved at half size, from which a pair is not
looked at any further, at the usual limit: no copy of the benchmark has more than 1.5 and 1.4."""

STARTS = 3
"""Windows from which the alignment of a pair begins."""

_BLOCK = 512  # images along a side of a tile
# Blur of the steps at half size and at full size, in pixels.
_COARSE, _FINE = (2.0, 2.0, 1.5, 1.5, 1.0, 1.0), (1.5, 1.0, 1.0, 1.0)
_ALIGNED = 32
# Sides in pixels between which the damage of a JPEG grows, as its blocks are a larger share of the image, and how much.
_COARSE_SIDES, _DAMAGE = (32, 64), 0.36
_SHARPEST, _BLURRIEST, _SHARP_SIDE = 1.0, 4.0, 140


def copies(thumbnails: CopyThumbnails, limit: float = LIMIT, pairs: Tensor | None = None) -> list[Pair]:
    """Pairs of images whose residual is below a limit, in order; their distance is the residual.

    Args:
        thumbnails: of the images; those that could not be read are in no pair.
        limit: of the residual.
        pairs: of numbers to look at, shape (P, 2); None for all.
    """
    tiles = _tiles(len(thumbnails)) if pairs is None else pairs.sort(1).values.split(_BLOCK**2)
    return _found(thumbnails, tiles, limit)


def repeats(
    thumbnails: CopyThumbnails, earlier: CopyThumbnails, limit: float = LIMIT, step: Callable[[], None] | None = None
) -> list[Pair]:
    """Pairs of an image and an earlier one of which it is a copy, in order; their distance is the residual.

    Args:
        thumbnails: of the images.
        earlier: of those that they may repeat, such as the previews of a Memory Bank.
        limit: of the residual.
        step: called after every block of earlier images.
    """
    count = len(thumbnails)
    both = CopyThumbnails(torch.cat([thumbnails.pixels, earlier.pixels]), torch.cat([thumbnails.sides, earlier.sides]))
    found = _found(both, _tiles_across(count, len(earlier), step or (lambda: None)), limit)
    return [Pair(pair.first, pair.second - count, pair.distance) for pair in found]


def _found(thumbnails: CopyThumbnails, tiles: Iterable[Tensor], limit: float) -> list[Pair]:
    """Pairs of copies among those of each tile (P, 2)."""
    if limit <= 0:
        return []
    glance = Glance.at(thumbnails)
    found = [pair for tile in tiles for pair in _looked_at(thumbnails, glance, tile, limit) if pair.distance < limit]
    return sorted(found, key=lambda pair: (pair.first, pair.second))


def _looked_at(thumbnails: CopyThumbnails, glance: Glance, tile: Tensor, limit: float) -> list[Pair]:
    """The residuals of the pairs of a tile (P, 2) that may be copies."""
    readable = tile[(thumbnails.sides[tile] > 0).all(1)]
    left = glance.residuals(readable)
    told = ~left.isnan()
    found = _pairs(readable[told], left[told])
    alike, starts = alike_pairs(thumbnails, readable[~told], ALIKE * min(1.0, LIMIT / limit), STARTS)
    if not len(alike):
        return found
    parts = zip(alike.split(_ALIGNED), starts.split(_ALIGNED), strict=True)
    for (chosen, _), residuals in work_ahead(parts, lambda part: _residuals(thumbnails, *part, limit)):
        found += _pairs(chosen, residuals())
    return found


def _tiles(count: int) -> Iterator[Tensor]:
    """All pairs i < j, by blocks of images."""
    for top in range(0, count, _BLOCK):
        rows = torch.arange(top, min(top + _BLOCK, count))
        for left in range(top, count, _BLOCK):
            pairs = torch.cartesian_prod(rows, torch.arange(left, min(left + _BLOCK, count)))
            yield pairs[pairs[:, 0] < pairs[:, 1]]


def _tiles_across(count: int, others: int, step: Callable[[], None]) -> Iterator[Tensor]:
    """All pairs of one of the first ``count`` images with one of the others behind them, by blocks of images."""
    for left in range(count, count + others, _BLOCK):
        columns = torch.arange(left, min(left + _BLOCK, count + others))
        for rows in torch.arange(count).split(_BLOCK):
            yield torch.cartesian_prod(rows, columns)
        step()


def _pairs(numbers: Tensor, residuals: Tensor) -> list[Pair]:
    return [Pair(i, j, share) for (i, j), share in zip(numbers.tolist(), residuals.tolist(), strict=True)]


def _residuals(thumbnails: CopyThumbnails, pairs: Tensor, starts: Tensor, limit: float) -> Tensor:
    """The smallest residual of each pair (P, 2) from its starts (P, STARTS), before and after refinement."""
    known = windows()
    kinds, places = starts.flatten() // len(known), known[starts.flatten() % len(known)]
    rows = pairs.repeat_interleave(starts.shape[1], 0)
    rows = torch.where((kinds >= 2)[:, None], rows.flip(1), rows)
    source, target = (thumbnails.luma_chroma(each) for each in rows.unbind(1))
    target = torch.where((kinds % 2 == 1)[:, None, None, None], target.flip(3), target)
    first, second = (half_size(each) for each in (source, target))
    rough, other = (blur(each, _BLURRIEST / 2) for each in (first, second))
    left, scale = residual(rough, other, places), max(1.0, limit / LIMIT)
    near = torch.nonzero(left < HOPELESS * scale).flatten()
    moved = places[near]
    if len(near):
        moved = refined(first[near, :1], second[near, :1], moved, _COARSE)
        left[near] = torch.minimum(left[near], residual(rough[near], other[near], moved))
        close = left[near] < UNLIKE * scale
        near, moved = near[close], moved[close]
    if len(near):
        sides = thumbnails.sides[rows[near]].amin(1)
        left[near] = _finest(source[near], target[near], places[near], moved, sides)
    return left.view(starts.shape).amin(1)


def _finest(source: Tensor, target: Tensor, places: Tensor, moved: Tensor, sides: Tensor) -> Tensor:
    """The smaller residual (P,) of each window as it was and refined, blurred as the coarser image's side needs."""
    moved = refined(source[:, :1], target[:, :1], moved, _FINE)
    sigmas = (_SHARP_SIDE / sides).clamp(_SHARPEST, _BLURRIEST)
    source, target = (
        torch.cat([blur(image[None], sigma) for image, sigma in zip(each, sigmas.tolist(), strict=True)])
        for each in (source, target)
    )
    forgiven = (sides.clamp(*_COARSE_SIDES) / _COARSE_SIDES[1]) ** _DAMAGE
    return forgiven * torch.minimum(residual(source, target, places), residual(source, target, moved))
