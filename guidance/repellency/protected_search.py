"""Search an index of raw latents by distances in a model's space.

If the latent format has one scale, distances in both spaces differ by a factor. If it scales channels differently, raw
distances give lower bounds, and the candidates are measured in the model's space.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...stores.protected.index import ProtectedIndex
from ...stores.protected.search.neighbour_list import NeighbourList
from ..latent_map import LatentMap
from .protection_record import NearestHit

SEARCH_MARGIN = 1e-3
"""Relative margin of the search radius: kernels test the surface of shields with a margin of their own."""

ROUNDING = 2e-7
"""Rounding error of float32, relative to the norm of a latent."""

CANDIDATES = 64
"""If channels are scaled differently, the nearest image is chosen among this many that are nearest unscaled."""


def images_inside(
    search: NeighbourList | ProtectedIndex, latent_map: LatentMap, raw: Tensor, radius: float
) -> tuple[list[int], Tensor]:
    """All images in whose shields points may be.

    Args:
        search: the neighbour list of a run, or the index itself.
        latent_map: to the model's space.
        raw: the points as raw latents, shape (B, D), float32.
        radius: of the shields, in the model's space.

    Returns:
        Their numbers in the index, and their raw latents (K, D).
    """
    reach = radius / latent_map.smallest * (1 + SEARCH_MARGIN) + _rounding(raw)
    hits = search.within(raw, reach)
    if latent_map.is_uniform:
        return hits.numbers.tolist(), hits.vectors
    # The search used the smallest scale.
    kept = torch.zeros(len(hits.numbers), dtype=torch.bool)
    for row, point in enumerate(raw):
        places = torch.searchsorted(hits.numbers, hits.references[hits.rows == row])
        kept[places] |= latent_map.lengths(hits.vectors[places] - point) < reach * latent_map.smallest
    return hits.numbers[kept].tolist(), hits.vectors[kept]


def nearest_images(index: ProtectedIndex, latent_map: LatentMap, raw: Tensor, radius: float = 0.0) -> list[NearestHit]:
    """The nearest image of one index to each raw latent (B, D), by distance in the model's space.

    Args:
        index: of at least one image.
        latent_map: to the model's space.
        raw: the latents, float32.
        radius: if channels are scaled differently, the result is exact within this distance; beyond it, the nearest of
            the ``CANDIDATES`` nearest unscaled is returned.
    """
    _, numbers = index.nearest(raw, 1 if latent_map.is_uniform else min(CANDIDATES, len(index)))
    found = []
    for point, candidates in zip(raw, numbers, strict=True):
        if int(candidates[0]) < 0:
            found.append(NearestHit("", math.inf))
            continue
        known, vectors = candidates.tolist(), torch.from_numpy(index.read(candidates.numpy()))
        if radius > 0 and not latent_map.is_uniform:
            inside, more = images_inside(index, latent_map, point[None], radius)
            known, vectors = [*known, *inside], torch.cat([vectors, more])
        lengths = latent_map.lengths(vectors - point)
        best = int(lengths.argmin())
        found.append(NearestHit(index.name(known[best]), float(lengths[best])))
    return found


def _rounding(raw: Tensor) -> float:
    """Bound on the rounding error of a raw latent in float32."""
    # A power of two, so that the search has the same radius in most steps.
    lengths = raw.norm(dim=1)
    largest = float(lengths.where(lengths.isfinite(), 0.0).amax())
    return 2.0 ** math.ceil(math.log2(largest)) * ROUNDING if largest > 0 else 0.0
