"""Searching an index of raw latents for distances in a model's space.

Where the latent format has one scale, distances in both spaces differ by a factor. Where it scales channels unlike, raw
distances bound those in the model's space from below, and what is found is measured there.
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
"""Shields are searched with a radius larger by this share: kernels that test the surface must know all of it."""

ROUNDING = 2e-7
"""Of float32, relative to the length of a latent."""

CANDIDATES = 64
"""Where channels are scaled unlike, the nearest image is looked for among so many that are nearest unscaled."""


def images_inside(
    search: NeighbourList | ProtectedIndex, latent_map: LatentMap, raw: Tensor, radius: float
) -> tuple[list[int], Tensor]:
    """The images in whose shields points may be, none left out.

    Args:
        search: the neighbour list of a run, or the index itself.
        latent_map: to the model's space, in which distances count.
        raw: the points as raw latents, shape (B, D), float32.
        radius: of the shields, in the model's space.

    Returns:
        Their numbers in the index, and their raw latents (K, D).
    """
    reach = radius / latent_map.smallest * (1 + SEARCH_MARGIN) + _rounding(raw)
    hits = search.within(raw, reach)
    if latent_map.is_uniform:
        return hits.numbers.tolist(), hits.vectors
    # The search was as wide as the least scaled channel asks for.
    kept = torch.zeros(len(hits.numbers), dtype=torch.bool)
    for row, point in enumerate(raw):
        places = torch.searchsorted(hits.numbers, hits.references[hits.rows == row])
        kept[places] |= latent_map.lengths(hits.vectors[places] - point) < reach * latent_map.smallest
    return hits.numbers[kept].tolist(), hits.vectors[kept]


def nearest_images(index: ProtectedIndex, latent_map: LatentMap, raw: Tensor, radius: float = 0.0) -> list[NearestHit]:
    """The nearest image of one index to each raw latent (B, D), by distance in the model's space.

    Args:
        index: holds at least one image.
        latent_map: to the model's space.
        raw: the latents, float32.
        radius: where channels are scaled unlike, the nearest image is exact within this distance. Beyond it, one that
            is nearer may be left out that is not among the ``CANDIDATES`` nearest unscaled.
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
