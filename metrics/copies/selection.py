"""Which images to keep so that none is a copy of another, and which pairs to look at in a large set."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..measures.pairs import NearDuplicates, Pair

ALL_PAIRS = 1000
"""Largest number of images of which all pairs are looked at."""

NEAREST = 4
"""In a larger set, every image is compared with this many nearest ones in the feature space."""

NEAREST_ONLY = f"Near-duplicates were looked for among the {NEAREST} nearest images of each in the feature space."

_BLOCK = 1024


def without_copies(count: int, found: Sequence[Pair], limit: float) -> NearDuplicates:
    """Keep each image that is no copy of one kept before it.

    Args:
        count: number of images.
        found: pairs of copies.
        limit: of the residual, below which they count as such.
    """
    partners: list[dict[int, float]] = [{} for _ in range(count)]
    for pair in found:
        partners[pair.second][pair.first] = partners[pair.first][pair.second] = pair.distance
    kept: dict[int, None] = {}
    originals: dict[int, int] = {}
    for image in range(count):
        repeated = {other: left for other, left in partners[image].items() if other in kept}
        if repeated:
            originals[image] = min(repeated, key=lambda other: repeated[other])
        else:
            kept[image] = None
    return NearDuplicates(limit, tuple(kept), tuple(originals), tuple(originals.values()))


def pairs_to_compare(features: Tensor) -> Tensor | None:
    """Pairs (P, 2) that may be copies in a set too large for all pairs; None for all.

    Args:
        features: (n, d) unit rows.
    """
    count = len(features)
    if count <= ALL_PAIRS:
        return None
    found = []
    for start in range(0, count, _BLOCK):
        similar = features[start : start + _BLOCK] @ features.T
        rows = torch.arange(start, start + len(similar))
        similar[rows - start, rows] = -torch.inf
        nearest = similar.topk(NEAREST).indices
        found.append(torch.stack([rows[:, None].expand_as(nearest), nearest], 2).flatten(0, 1))
    return torch.cat(found).sort(1).values.unique(dim=0)
