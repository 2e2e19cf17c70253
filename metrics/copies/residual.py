"""What is left of an image when another one has explained what it can."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from .alignment import cut, pixel_centres

PATCHES = 8
"""Patches along a side; those that are compared overlap by three quarters."""

_FLOOR = 0.1
"""Share of the whole image's contrast that counts as contrast in a patch without any."""

_MARGIN = 1 / 32  # share of the target at its border, where a crop may have cut a line in half
_NOISE = 2e-5  # of thumbnails: a level of 1/255, squared
_COVERED = 0.6


def residual(source: Tensor, target: Tensor, places: Tensor) -> Tensor:
    """The largest unexplained share of any patch, (P,): about 0 for copies, 1 and more for different images.

    The window explains the target by one gain, curvature and offset of luma; chroma may also follow luma, so that a
    grey or tinted copy is one. A shared background explains nothing, as each patch is measured by its own contrast.

    Args:
        source: luma and chroma that the windows are cut from, (P, 3, S, S), blurred as the coarser image needs.
        target: luma and chroma, (P, 3, S, S), blurred alike.
        places: of the windows, (P, 4).
    """
    side = source.shape[-1]
    inside = _inside(places, side).flatten(1)[:, None]
    seen, wanted = cut(source, places, side).flatten(2), target.flatten(2)
    luma, one = seen[:, :1], torch.ones_like(seen[:, :1])
    explained = torch.cat(
        [
            _fitted([luma, luma.square(), one], wanted[:, :1], inside),
            *(_fitted([seen[:, at : at + 1], luma, one], wanted[:, at : at + 1], inside) for at in (1, 2)),
        ],
        1,
    )
    covered = _pooled(inside, side)
    left = _pooled((wanted - explained).square().sum(1, keepdim=True) * inside, side) / covered.clamp_min(1e-3)
    whole = [_variance(each, inside) for each in (wanted, seen)]
    # The source's contrast in the target's units: what only the source shows must be explained away, too.
    scale = (whole[0] / whole[1].clamp_min(1e-6)).clamp(0.1, 10)[:, None, None, None]
    present = torch.maximum(
        _patch_variance(wanted, inside, covered, side), scale * _patch_variance(seen, inside, covered, side)
    )
    share = (left / (present + _FLOOR * whole[0][:, None, None, None] + _NOISE)).sqrt()
    return share.where(covered > _COVERED, torch.zeros(())).flatten(1).amax(1)


def _inside(places: Tensor, side: int) -> Tensor:
    """1 where a window lies within its image, but for a margin, (P, side, side)."""
    steps = pixel_centres(side)
    counts = steps.abs() <= 1 - 2 * _MARGIN
    x, y = (counts & ((places[:, at : at + 1] * steps + places[:, at + 2 : at + 3]).abs() <= 1) for at in (0, 1))
    return (y[:, :, None] & x[:, None, :]).float()


def _fitted(parts: list[Tensor], wanted: Tensor, inside: Tensor) -> Tensor:
    """The least-squares fit of ``wanted`` (P, 1, N) by ``parts``, each (P, 1, N)."""
    stacked = torch.cat(parts, 1)
    weighted = stacked * inside
    normal = weighted @ stacked.transpose(1, 2)
    normal = normal + torch.diag_embed(normal.diagonal(dim1=1, dim2=2) * 1e-4 + 1e-6)
    return torch.linalg.solve(normal, weighted @ wanted.transpose(1, 2)).transpose(1, 2) @ stacked


def _pooled(values: Tensor, side: int) -> Tensor:
    """Means (P, C, K, K) of the patches of values (P, C, side^2)."""
    pooling = _pooling(side)
    return pooling @ values.view(len(values), -1, side, side) @ pooling.T


@cache
def _pooling(side: int) -> Tensor:
    """The means of a row's patches as a matrix (K, side)."""
    size = side // PATCHES
    starts = torch.arange(0, side - size + 1, size // 4)[:, None]
    places = torch.arange(side)
    return ((places >= starts) & (places < starts + size)).float() / size


def _patch_variance(values: Tensor, inside: Tensor, covered: Tensor, side: int) -> Tensor:
    mean, square = (_pooled(each * inside, side) / covered.clamp_min(1e-3) for each in (values, values.square()))
    return (square - mean.square()).clamp_min(0).sum(1, keepdim=True)


def _variance(values: Tensor, inside: Tensor) -> Tensor:
    """Variance of all channels within the window, (P,)."""
    count = inside.sum(2, keepdim=True).clamp_min(1)
    mean = (values * inside).sum(2, keepdim=True) / count
    return ((values - mean) * inside).square().sum((1, 2)) / count[:, 0, 0]
