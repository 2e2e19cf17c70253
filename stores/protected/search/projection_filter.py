"""The filter of a Protected Index: a few numbers of each reference that tell which ones need not be read.

Two bounds in turn, both from ``kernels.projection_bounds``: a coarse one by one matrix product (``index_coarse``), then
a fine one of those that it leaves. Every rounding (float32 and half precision of the stored coordinates, of the matrix
product and of the bounds themselves) is part of the bound: what is passed over is farther than was asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ....kernels.shields.projection_bounds import Projection, fit_projection
from ...files import from_half
from .bounds import (
    FAR,
    Floats,
    Integers,
    Projected,
    columns,
    conservative,
    lengths,
)
from .coarse import CoarseTable

COARSE, FINE_SHARE, FINE_MOST = 32, 8, 96
"""Coordinates of the coarse bound; of the fine one an eighth of the vector's values, 32 to 96."""

SAMPLE_VALUES = 1 << 25
"""Numbers of the vectors from which the projection is fitted: 128 MB of float32."""

CHUNK_VALUES = 1 << 20
"""Numbers of the vectors that are projected at once: 8 MB of float64."""

FINE_ROUNDING = 6e-4
"""Relative error of coordinates in half precision, with room."""

SAMPLE_ROWS, SURE = 4096, 8
"""References that tell how near others are likely to be, and how many of them it takes to trust that."""


@dataclass(frozen=True)
class IndexFilter:
    """Coordinates of all references.

    Attributes:
        projection: the map.
        coarse: c coordinates of all references.
        fine: shape (N, m - c + 1), float16: the other coordinates and the norm of the rest, times ``scale``.
        scale: power of two that keeps ``fine`` in half precision's range.
    """

    projection: Projection
    coarse: CoarseTable
    fine: NDArray[np.float16]
    scale: float

    def __len__(self) -> int:
        return len(self.coarse)

    @classmethod
    def fit(cls, blocks: Sequence[NDArray[np.float16]]) -> IndexFilter:
        """Fit a filter to references in blocks (n, D); the same references give the same filter."""
        count, width = sum(map(len, blocks)), blocks[0].shape[1]
        projection = fit_projection(_spread(blocks, max(1, SAMPLE_VALUES // width)), fine_dimensions(width))
        cut = min(COARSE, len(projection.basis))
        table = CoarseTable.empty(count, cut)
        rest = np.empty((count, len(projection.basis) - cut + 1), np.float32)
        done, reach = 0, 0.0
        for block in blocks:
            for chunk in np.array_split(block, max(1, block.size // CHUNK_VALUES)):
                place = slice(done, done + len(chunk))
                inside = projection.coordinates(from_half(chunk))
                rest[place] = inside[:, cut:]
                table.fill(place, inside)
                reach = max(reach, float(lengths(inside).max(initial=0.0)))
                done += len(chunk)
        scale = 2.0 ** float(14 - np.ceil(np.log2(max(float(np.abs(rest).max(initial=0.0)), 1e-9 * reach, 1e-12))))
        halves = (rest * np.float32(scale)).astype(np.float16)
        return cls(projection, table.ordered(reach * (1 + 1e-6)), halves, scale)

    @property
    def nbytes(self) -> int:
        """Memory of the coordinates."""
        return self.coarse.nbytes + self.fine.nbytes + self.projection.basis.nbytes

    def project(self, queries: Floats) -> Projected:
        """Queries (B, D), finite, as the filter sees them; of far ones only the norm counts."""
        coordinates = self.projection.coordinates(queries)
        norms = lengths(coordinates)
        return Projected(np.where(norms[:, None] < FAR, coordinates, 0.0), norms)

    @property
    def dimensions(self) -> int:
        """Numbers of a reference's coordinates, m + 1."""
        return self.coarse.cut + self.fine.shape[1]

    def coordinates(self, numbers: Integers) -> NDArray[np.float32]:
        """All coordinates of some references, shape (n, m + 1), of which most are rounded to half precision."""
        found = np.empty((len(numbers), self.dimensions), np.float32)
        found[:, : self.coarse.cut] = self.coarse.joined(numbers)[:, : self.coarse.cut]
        fine = from_half(self.fine.take(numbers, axis=0))
        np.divide(fine, np.float32(self.scale), out=found[:, self.coarse.cut :])
        return found

    def bounds(self, queries: Projected, rows: Integers, coordinates: NDArray[np.float32]) -> Floats:
        """What distances of pairs (row of the queries, ``coordinates`` of the reference) are at least, shape (M,).

        The coordinates are overwritten.
        """
        differences = np.subtract(
            coordinates, queries.coordinates.astype(np.float32).take(rows, axis=0), out=coordinates
        )
        computed = np.sqrt(np.einsum("nm,nm->n", differences, differences)).astype(np.float64)
        # Half precision has no relative accuracy below its smallest normal number, a billionth of the reach.
        computed = np.maximum(computed - 1e-9 * self.coarse.reach, 0.0)
        return conservative(computed, queries.norms[rows], FINE_ROUNDING)

    def likely_reach(self, queries: Projected, count: int) -> float:
        """About the bound that ``count`` pairs with references stay below, over all queries; told by a sample."""
        near = columns(queries.coordinates[queries.near], self.coarse.cut)
        pairs = len(near) * self._sample.shape[1]
        if not pairs:
            return math.inf
        wanted = min(max(count * self._sample.shape[1] // len(self), SURE), pairs) - 1
        squares = 2 * (near[:, -1:] + self._sample[-1] - near[:, :-1] @ self._sample[:-1])
        return math.sqrt(max(float(np.partition(squares, wanted, axis=None)[wanted]), 0.0))

    @cached_property
    def _sample(self) -> NDArray[np.float32]:
        return np.ascontiguousarray(self.coarse.joined(evenly_spread(len(self), SAMPLE_ROWS)).T)


def fine_dimensions(width: int) -> int:
    """Coordinates of the fine bound for vectors of ``width`` values."""
    return min(width, max(COARSE, min(width // FINE_SHARE, FINE_MOST)))


def _spread(blocks: Sequence[NDArray[np.float16]], count: int) -> NDArray[np.float32]:
    """At most ``count`` references, evenly spread, float32."""
    numbers = evenly_spread(sum(map(len, blocks)), count)
    return from_half(np.concatenate(list(_picked(blocks, numbers))))


def evenly_spread(total: int, count: int) -> Integers:
    """At most ``count`` of ``total`` numbers, ascending."""
    return np.arange(min(total, count), dtype=np.int64) * total // max(1, min(total, count))


def _picked(blocks: Sequence[NDArray[np.float16]], numbers: Integers) -> Iterable[NDArray[np.float16]]:
    start = 0
    for block in blocks:
        yield block[numbers[(numbers >= start) & (numbers < start + len(block))] - start]
        start += len(block)
