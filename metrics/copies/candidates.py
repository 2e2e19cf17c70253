"""Which pairs of images look alike at all, and by which windows: the correlations of small views."""

from __future__ import annotations

import torch
from torch import Tensor

from ...features.work_ahead import work_ahead
from .alignment import VIEW, views
from .thumbnails import CopyThumbnails

_IMAGES = 64  # of which all views are in memory at once, in each thread
_ROWS = 4096  # pairs of a block of images


def alike_pairs(thumbnails: CopyThumbnails, pairs: Tensor, least: float, starts: int) -> tuple[Tensor, Tensor]:
    """The pairs whose best windows correlate at least so much, (A, 2), and their best windows, (A, starts).

    With W windows, window w of the first image on the second has the number w, and W + w on the mirrored second; the
    windows of the second image on the first follow from 2 W.

    Args:
        thumbnails: of the images.
        pairs: of numbers, (P, 2).
        least: correlation, at most 1.
        starts: number of windows.
    """
    if not len(pairs):
        return pairs, pairs.new_zeros(0, starts)
    images, places = pairs.unique(return_inverse=True)
    parts = work_ahead(images.split(_IMAGES), lambda part: _targets(thumbnails.luma(part)))
    targets = torch.cat([made() for _, made in parts])
    correlations = torch.empty(len(pairs), 2, starts)
    windows = torch.empty(len(pairs), 2, starts, dtype=torch.int64)
    # Each pair twice, once by each of its images, in the order of the images.
    order = places.flatten().argsort()
    counts = places.flatten().bincount()
    ends = counts.cumsum(0)
    together = max(1, min(_IMAGES, _ROWS // int(counts.max())))

    def look(block: Tensor) -> None:
        chosen = order[ends[block[0]] - counts[block[0]] : ends[block[-1]]]
        pair, source = chosen // 2, chosen % 2
        others = targets[places[pair, 1 - source]].split(counts[block].tolist())
        seen = views(thumbnails.luma(images[block]))
        scores = torch.cat([part.flatten(0, 1) @ rows.T for part, rows in zip(others, seen, strict=True)])
        best = scores.view(len(chosen), -1).topk(starts)
        correlations[pair, source] = best.values
        windows[pair, source] = best.indices + source[:, None] * 2 * seen.shape[1]

    for _, done in work_ahead(torch.arange(len(images)).split(together), look):
        done()
    best = correlations.flatten(1).topk(starts)
    alike = best.values[:, 0] >= least
    return pairs[alike], windows.flatten(1).gather(1, best.indices)[alike]


def _targets(luma: Tensor) -> Tensor:
    """The view of each whole image (B, 1, S, S) and of its mirror image, (B, 2, VIEW^2)."""
    whole = views(luma, 1)[:, 0]
    return torch.stack([whole, whole.view(-1, VIEW, VIEW).flip(2).flatten(1)], 1)
