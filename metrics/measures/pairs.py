"""Distances between all pairs of a set: their mean, the closest ones, and which images to reject as near-duplicates."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

# Rows and columns of one block of distances: 16 MB of float32.
_BLOCK = 2048


@dataclass(frozen=True)
class Pair:
    """Two images and the distance of their unit features, 0 to 2."""

    first: int
    second: int
    distance: float


@dataclass(frozen=True)
class PairScan:
    """Statistics of all pairs.

    Attributes:
        mean: mean distance; NaN for fewer than two images.
        error: standard error of the mean as an estimate for the source of the images; NaN for fewer than three.
        closest: the closest pairs, closest first.
        near_count: number of pairs below the given distance.
    """

    mean: float
    error: float
    closest: tuple[Pair, ...]
    near_count: int


@dataclass(frozen=True)
class NearDuplicates:
    """Which images to keep, in order, so that no two of them are near-duplicates.

    Attributes:
        distance: below which two images are near-duplicates.
        kept: indices of images that are no near-duplicate of one kept before.
        rejected: indices of the others.
        duplicate_of: the closest kept image of every rejected one.
    """

    distance: float
    kept: tuple[int, ...]
    rejected: tuple[int, ...]
    duplicate_of: tuple[int, ...]

    @property
    def clusters(self) -> tuple[tuple[int, ...], ...]:
        """Every kept image that has near-duplicates, followed by these."""
        members: dict[int, list[int]] = {}
        for image, original in zip(self.rejected, self.duplicate_of, strict=True):
            members.setdefault(original, [original]).append(image)
        return tuple(tuple(members[original]) for original in sorted(members))


def scan_pairs(features: Tensor, near: float, keep: int = 100) -> PairScan:
    """Compare every pair once, a block at a time.

    Args:
        features: (n, d) rows of unit length or zero.
        near: distance below which pairs are counted.
        keep: how many of the closest pairs to return.
    """
    count = len(features)
    sums = torch.zeros(count, dtype=torch.float64)
    # A heap of the closest pairs, the farthest first.
    heap: list[tuple[float, int, int]] = []
    near_count = 0
    for rows, columns, distances in _blocks(features):
        sums[rows] += distances.sum(1, dtype=torch.float64)
        if rows != columns:
            sums[columns] += distances.sum(0, dtype=torch.float64)
        else:
            distances = distances.masked_fill(torch.ones_like(distances, dtype=torch.bool).tril(), math.inf)
        near_count += int((distances < near).sum())
        flat = distances.flatten()
        closest = flat.topk(min(keep, len(flat)), largest=False)
        for value, place in zip(closest.values.tolist(), closest.indices.tolist(), strict=True):
            pair = (-value, rows.start + place // distances.shape[1], columns.start + place % distances.shape[1])
            if not math.isfinite(value) or (len(heap) == keep and pair < heap[0]):
                break
            (heapq.heappushpop if len(heap) == keep else heapq.heappush)(heap, pair)
    found = [Pair(i, j, float((features[i] - features[j]).norm())) for _, i, j in heap]
    mean, error = _mean_and_error(sums)
    return PairScan(mean, error, tuple(sorted(found, key=lambda pair: (pair.distance, pair.first))), near_count)


def near_duplicates(features: Tensor, distance: float) -> NearDuplicates:
    """Keep each image that is at least this far from all kept before it.

    Args:
        features: (n, d) rows of unit length or zero.
        distance: below which two images are near-duplicates.

    Returns:
        The selection: any two kept images are at least ``distance`` apart.

    Raises:
        ValueError: a distance that is negative or not a number.
    """
    if not distance >= 0:
        raise ValueError(f"The distance of near-duplicates must not be negative, got {distance}.")
    kept: list[int] = []
    rejected: list[int] = []
    for start in range(0, len(features), _BLOCK):
        block = features[start : start + _BLOCK]
        hit = torch.zeros(len(block), dtype=torch.bool)
        for chosen in torch.tensor(kept, dtype=torch.int64).split(_BLOCK):
            hit |= (_distances(block, features[chosen]) < distance).any(1)
        inside = _distances(block, block) < distance
        for row in range(len(block)):
            if hit[row]:
                rejected.append(start + row)
            else:
                kept.append(start + row)
                hit |= inside[row]
    originals = torch.tensor(kept, dtype=torch.int64)
    duplicate_of: list[int] = []
    for block in torch.tensor(rejected, dtype=torch.int64).split(_BLOCK) if rejected else ():
        best = torch.full((len(block),), math.inf)
        which = torch.zeros(len(block), dtype=torch.int64)
        for chosen in originals.split(_BLOCK):
            nearest = _distances(features[block], features[chosen]).min(1)
            closer = nearest.values < best
            best = torch.where(closer, nearest.values, best)
            which = torch.where(closer, chosen[nearest.indices], which)
        duplicate_of += which.tolist()
    return NearDuplicates(distance, tuple(kept), tuple(rejected), tuple(duplicate_of))


def _blocks(features: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Blocks on and above the diagonal of the distance matrix, which is set to zero."""
    count = len(features)
    for top in range(0, count, _BLOCK):
        rows = slice(top, min(top + _BLOCK, count))
        for left in range(top, count, _BLOCK):
            columns = slice(left, min(left + _BLOCK, count))
            distances = _distances(features[rows], features[columns])
            if rows == columns:
                distances.fill_diagonal_(0)
            yield rows, columns, distances


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """Distances by one matrix product; the error is at most 1e-3 for coincident unit rows, and far less elsewhere."""
    squares = x.square().sum(1)[:, None] + y.square().sum(1)
    return torch.addmm(squares, x, y.T, alpha=-2).clamp_min_(0).sqrt_()


def _mean_and_error(sums: Tensor) -> tuple[float, float]:
    """Mean of all pairs and its standard error as a U-statistic, from each image's sum of distances."""
    count = len(sums)
    if count < 2:
        return math.nan, math.nan
    means = sums / (count - 1)
    mean = float(means.mean())
    if count < 3:
        return mean, math.nan
    # Leaving image i out changes the mean by 2 (mean - means_i) / (n - 2): the jackknife in closed form.
    deviations = 2 * (means - mean) / (count - 2)
    return mean, math.sqrt((count - 1) / count * float(deviations.square().sum()))
