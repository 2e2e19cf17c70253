"""Precision and recall (arXiv 1904.06991), density and coverage (arXiv 2002.09797) of generated among real items.

Every item has an open ball that reaches to its k-th nearest neighbour in the same set. Float64 differences decide
whether a pair lies within a ball; a float32 matrix product with a rigorous error bound only sorts out the clear cases.
Distances are computed one block at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .precision import float64_device, require_finite
from .similarity import as_rows

# Rows and columns of one block of distances: 4 MB of float32.
_BLOCK = 1024
# Numbers held at once while pairs are measured exactly: few enough for a processor's cache.
_PAIR_BUDGET = 1 << 16
# Neighbours kept beyond the k-th, so that float32 errors among the first k rarely matter.
_SPARE = 3


class ManifoldScores(NamedTuple):
    """PRDC scores.

    Attributes:
        precision: fraction of generated items within the ball of a real one.
        recall: fraction of real items within the ball of a generated one.
        density: mean number of real balls around a generated item, divided by k; 1 for equal distributions.
        coverage: fraction of real items whose ball contains a generated one.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def prdc(real: Tensor, generated: Tensor, neighbours: int = 5) -> ManifoldScores:
    """Precision, recall, density and coverage under Euclidean distances.

    Balls are open: an item exactly at the k-th neighbour's distance is outside, and an item with k copies of itself
    has an empty ball.

    Args:
        real: (n, ...) features of real items.
        generated: (m, ...) features of generated items.
        neighbours: k; an item's ball reaches to its k-th nearest neighbour in its own set.

    Returns:
        The four scores.

    Raises:
        ValueError: fewer than k + 1 items in a set, k below 1, or features of different sizes or that are not finite.
    """
    real, generated = _prepared(real, "real"), _prepared(generated, "generated")
    if neighbours < 1:
        raise ValueError(f"The number of neighbours must be at least 1, got {neighbours}.")
    if len(real) <= neighbours or len(generated) <= neighbours:
        raise ValueError(
            f"{neighbours} neighbours need at least {neighbours + 1} items in each set, got {len(real)} real and "
            f"{len(generated)} generated ones: give more items or ask for fewer neighbours."
        )
    if real.shape[1] != generated.shape[1]:
        raise ValueError(
            f"Real items have {real.shape[1]} features and generated ones {generated.shape[1]}: extract both alike."
        )
    screen = _Screen.from_features(real, generated)
    real_reach = _squared_reach(real, screen.real, screen, neighbours)
    generated_reach = _squared_reach(generated, screen.generated, screen, neighbours)

    covered = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    recalled = torch.zeros_like(covered)
    precise = torch.zeros(len(generated), dtype=torch.bool, device=real.device)
    contained = 0
    for rows, columns in _blocks(len(real), len(generated)):
        distances = screen.distances(screen.real[rows], screen.generated[columns])
        in_real = screen.closer(distances, real_reach[rows, None])
        in_generated = screen.closer(distances, generated_reach[columns])
        i, j = torch.nonzero(in_real.doubtful | in_generated.doubtful, as_tuple=True)
        exact = _pair_distances(real[rows], generated[columns], i, j)
        in_real.certain[i, j] = exact < real_reach[rows][i]
        in_generated.certain[i, j] = exact < generated_reach[columns][j]
        contained += int(torch.count_nonzero(in_real.certain))
        precise[columns] |= in_real.certain.any(0)
        covered[rows] |= in_real.certain.any(1)
        recalled[rows] |= in_generated.certain.any(1)
    return ManifoldScores(
        precision=_fraction(precise),
        recall=_fraction(recalled),
        density=contained / (neighbours * len(generated)),
        coverage=_fraction(covered),
    )


class _Comparison(NamedTuple):
    """Which pairs of a block are certainly closer than a reach, and which float32 cannot decide."""

    certain: Tensor
    doubtful: Tensor


@dataclass(frozen=True)
class _Screen:
    """Float32 copies of both sets, shifted by the real mean and scaled alike, with a bound on their errors."""

    real: Tensor  # (n, d), entries at most 1
    generated: Tensor  # (m, d)
    scale: float  # one unit of the copies in the units of the features
    margin: float  # largest error of a squared distance, in squared units of the copies

    @classmethod
    def from_features(cls, real: Tensor, generated: Tensor) -> _Screen:
        centre = real.mean(0, dtype=torch.float64)
        scale = max(float((rows - centre).abs().amax()) for rows in (real, generated)) or 1.0
        copies = [((rows - centre) / scale).float() for rows in (real, generated)]
        longest = max(float(copy.square().sum(1).amax()) for copy in copies)
        # d + 16 roundings of unit 2^-24 to terms of at most (|x| + |y|)^2 <= 4 longest^2, in whatever order of sums.
        margin = (real.shape[1] + 16) * 2.0**-24 * 4 * longest
        return cls(copies[0], copies[1], scale, margin)

    def distances(self, x: Tensor, y: Tensor) -> Tensor:
        """(n, m) squared distances of copies, each off by less than the margin."""
        return (x.square().sum(1)[:, None] + y.square().sum(1)).addmm_(x, y.T, alpha=-2)

    def closer(self, distances: Tensor, squared_reach: Tensor) -> _Comparison:
        """Compare squared distances of copies with float64 squared reaches in the units of the features."""
        reach = squared_reach / self.scale**2
        certain = distances < (reach - self.margin).float()
        # Nothing is closer than zero: empty balls need no exact distances.
        possible = distances < torch.where(reach > 0, reach + self.margin, -torch.inf).float()
        return _Comparison(certain, certain ^ possible)


def _squared_reach(items: Tensor, copies: Tensor, screen: _Screen, neighbours: int) -> Tensor:
    """(n,) float64 squared distances of items to their k-th nearest neighbours."""
    count = min(neighbours + _SPARE, len(items) - 1)
    nearest, indices = _nearest_copies(copies, screen, count)
    own = torch.arange(len(items), device=items.device).repeat_interleave(count)
    exact = _pair_distances(items, items, own, indices.flatten()).view(-1, count)
    reach = exact.kthvalue(neighbours, dim=1).values
    if count < len(items) - 1:
        # Up to the error of both, a neighbour that was not kept is at least as far as the last one kept.
        doubtful = (reach > 0) & (reach / screen.scale**2 > nearest[:, -1].double() - 2 * screen.margin)
        for item in torch.nonzero(doubtful).flatten().tolist():
            everyone = torch.arange(len(items), device=items.device)
            distances = _pair_distances(items, items, torch.full_like(everyone, item), everyone)
            distances[item] = torch.inf
            reach[item] = distances.kthvalue(neighbours).values
    return reach


def _nearest_copies(copies: Tensor, screen: _Screen, count: int) -> tuple[Tensor, Tensor]:
    """(n, count) smallest squared distances of copies to others, ascending, and the indices of these others."""
    nearest = copies.new_full((len(copies), count), torch.inf)
    indices = torch.zeros(nearest.shape, dtype=torch.long, device=copies.device)

    def merge(items: slice, others: slice, distances: Tensor) -> None:
        found = distances.topk(min(count, distances.shape[1]), largest=False)
        values = torch.cat([nearest[items], found.values], 1)
        owners = torch.cat([indices[items], found.indices + others.start], 1)
        best = values.topk(count, largest=False)
        nearest[items], indices[items] = best.values, owners.gather(1, best.indices)

    for rows, columns in _blocks(len(copies), len(copies)):
        if rows.start > columns.start:
            continue
        # One block serves its rows and, transposed, its columns.
        distances = screen.distances(copies[rows], copies[columns])
        if rows == columns:
            distances.fill_diagonal_(torch.inf)
        else:
            merge(columns, rows, distances.T)
        merge(rows, columns, distances)
    return nearest, indices


def _pair_distances(x: Tensor, y: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """(p,) float64 squared distances between items x[i] and y[j]; the same for a pair and its reverse."""
    chunk = max(1, _PAIR_BUDGET // max(1, x.shape[1]))
    parts = [
        (x[a].double() - y[b].double()).square().sum(1) for a, b in zip(i.split(chunk), j.split(chunk), strict=True)
    ]
    return torch.cat(parts)


def _blocks(rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
    for top in range(0, rows, _BLOCK):
        for left in range(0, columns, _BLOCK):
            yield slice(top, min(top + _BLOCK, rows)), slice(left, min(left + _BLOCK, columns))


def _prepared(items: Tensor, name: str) -> Tensor:
    rows = as_rows(items).detach()
    return require_finite(rows.to(float64_device(rows.device)), f"Features of {name} items")


def _fraction(flags: Tensor) -> float:
    return int(torch.count_nonzero(flags)) / len(flags)
