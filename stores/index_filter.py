"""The filter of a Protected Index: a few numbers of each reference that tell which ones need not be read.

Two bounds in turn, both from ``kernels.projection_bounds``: a coarse one of all references by one matrix product, then
a fine one of those that it leaves. Every rounding (float32 and half precision of the stored coordinates, of the matrix
product and of the bounds themselves) is part of the bound: what is passed over is farther than was asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..kernels.projection_bounds import Projection, fit_projection

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.int64]

COARSE, FINE_SHARE, FINE_MOST = 32, 8, 128
"""Coordinates of the coarse bound; of the fine one an eighth of the vector's values, 32 to 128."""

SAMPLE_VALUES = 1 << 25
"""Numbers of the vectors from which the projection is fitted: 128 MB of float32."""

CHUNK_VALUES = 1 << 20
"""Numbers of the vectors that are projected at once: 8 MB of float64."""

SCAN_ROWS = 16_384
"""References that one matrix product compares: it stays in the processor's cache."""

COARSE_ROUNDING, FINE_ROUNDING = 2e-5, 6e-4
"""Relative errors of coordinates in float32 and half precision, with room."""

SAMPLE_ROWS, SURE = 8192, 8
"""References that tell how near others are likely to be, and how many of them it takes to trust that."""

PRODUCT_ROUNDING = 1e-5
"""Of the matrix product relative to half of both squared norms: float32 and a few dozen terms, with room."""

FAR = 1e12
"""Beyond this distance from the centre float32 may overflow in products; no reference is there."""


@dataclass(frozen=True)
class Candidates:
    """Pairs (query, reference) that may be closer than what was asked for, and all of them.

    Attributes:
        rows: number of the query, shape (M,).
        numbers: number of the reference, shape (M,).
        bounds: what their distance is at least, shape (M,), float64.
    """

    rows: Integers
    numbers: Integers
    bounds: Floats

    def __len__(self) -> int:
        return len(self.rows)

    def picked(self, which: NDArray[np.bool_] | Integers) -> Candidates:
        """Those where a mask is true, or at some places."""
        return Candidates(self.rows[which], self.numbers[which], self.bounds[which])


@dataclass(frozen=True)
class Projected:
    """Queries as the filter sees them.

    Attributes:
        coordinates: shape (B, m + 1), float64.
        norms: distance from the filter's centre, shape (B,).
    """

    coordinates: Floats
    norms: Floats


@dataclass(frozen=True)
class IndexFilter:
    """Coordinates of all references.

    Attributes:
        projection: the map.
        coarse: shape (N, c + 2), float32: c coordinates, the norm of the rest, half of the squared norm of both.
        fine: shape (N, m - c + 1), float16: the other coordinates and the norm of the rest, times ``scale``.
        scale: power of two that keeps ``fine`` in half precision's range.
        reach: no reference is farther from the centre.
    """

    projection: Projection
    coarse: NDArray[np.float32]
    fine: NDArray[np.float16]
    scale: float
    reach: float

    def __len__(self) -> int:
        return len(self.coarse)

    @classmethod
    def fit(cls, blocks: Sequence[NDArray[np.float16]]) -> IndexFilter:
        """Fit a filter to references in blocks (n, D); the same references give the same filter."""
        count, width = sum(map(len, blocks)), blocks[0].shape[1]
        projection = fit_projection(_spread(blocks, max(1, SAMPLE_VALUES // width)), fine_dimensions(width))
        cut = min(COARSE, len(projection.basis))
        coarse = np.empty((count, cut + 2), np.float32)
        rest = np.empty((count, len(projection.basis) - cut + 1), np.float32)
        done, reach = 0, 0.0
        for block in blocks:
            for chunk in np.array_split(block, max(1, block.size // CHUNK_VALUES)):
                place = slice(done, done + len(chunk))
                inside = projection.coordinates(chunk.astype(np.float32))
                rest[place] = inside[:, cut:]
                coarse[place] = _coarse(inside, cut)
                reach = max(reach, float(np.sqrt(np.einsum("nm,nm->n", inside, inside).max(initial=0.0))))
                done += len(chunk)
        scale = 2.0 ** float(14 - np.ceil(np.log2(max(float(np.abs(rest).max(initial=0.0)), 1e-9 * reach, 1e-12))))
        return cls(projection, coarse, (rest * np.float32(scale)).astype(np.float16), scale, reach * (1 + 1e-6))

    @property
    def nbytes(self) -> int:
        """Memory of the coordinates."""
        return self.coarse.nbytes + self.fine.nbytes + self.projection.basis.nbytes

    def project(self, queries: Floats) -> Projected:
        """Queries (B, D), finite, as the filter sees them; of far ones only the norm counts."""
        coordinates = self.projection.coordinates(queries)
        norms = np.sqrt(np.einsum("bm,bm->b", coordinates, coordinates))
        return Projected(np.where(norms[:, None] < FAR, coordinates, 0.0), norms)

    def scan(self, queries: Projected, within: Floats) -> Candidates:
        """Every pair that may be closer than ``within``, shape (B,), by the coarse bound."""
        cut = self.coarse.shape[1] - 2
        points = _coarse(queries.coordinates, cut)
        halves = points[:, -1].astype(np.float64)
        points[:, -1] = -(1 - PRODUCT_ROUNDING)
        near = queries.norms < FAR
        limit = (within + COARSE_ROUNDING * (2 * queries.norms + within)) * (1 + COARSE_ROUNDING)
        least = np.maximum(halves * (1 - 2 * PRODUCT_ROUNDING) - limit * limit / 2, np.finfo(np.float32).min)
        least = np.where(near, least, np.inf).astype(np.float32)
        places, scores = [], []
        directions = np.ascontiguousarray(points.T)
        for start in range(0, len(self), SCAN_ROWS):
            chunk = (self.coarse[start : start + SCAN_ROWS] @ directions).ravel()
            inside = np.flatnonzero(chunk.reshape(-1, len(points)) >= least)
            places.append(inside + start * len(points))
            scores.append(chunk[inside])
        numbers, rows = np.divmod(np.concatenate(places), len(points))
        squares = 2 * (halves * (1 - 2 * PRODUCT_ROUNDING))[rows] - 2 * np.concatenate(scores).astype(np.float64)
        bounds = _conservative(np.sqrt(np.maximum(squares, 0.0)), queries.norms[rows], COARSE_ROUNDING)
        return self._with_far(Candidates(rows, numbers, bounds), queries, within, near)

    def refine(self, queries: Projected, candidates: Candidates) -> Candidates:
        """The same pairs with their fine bounds."""
        cut = self.coarse.shape[1] - 2
        rows, numbers = candidates.rows, candidates.numbers
        points = queries.coordinates.astype(np.float32)[rows]
        outer = self.coarse.take(numbers, axis=0)[:, :cut] - points[:, :cut]
        inner = self.fine.take(numbers, axis=0).astype(np.float32)
        inner /= np.float32(self.scale)
        inner -= points[:, cut:]
        lengths = np.sqrt((outer * outer).sum(1) + (inner * inner).sum(1)).astype(np.float64)
        # Half precision has no relative accuracy below its smallest normal number, a billionth of the reach.
        lengths = np.maximum(lengths - 1e-9 * self.reach, 0.0)
        bounds = _conservative(lengths, queries.norms[rows], FINE_ROUNDING)
        return Candidates(rows, numbers, np.maximum(bounds, candidates.bounds))

    def likely_reach(self, queries: Projected, count: int) -> Floats:
        """For each query about the bound that ``count`` references stay below, shape (B,); told by a sample."""
        sample = self._sample
        wanted = min(max(count * len(sample) // len(self), SURE), len(sample)) - 1
        points = _coarse(queries.coordinates, self.coarse.shape[1] - 2)
        squares = 2 * (points[:, -1:] + sample[:, -1] - points[:, :-1] @ sample[:, :-1].T)
        likely = np.sqrt(np.maximum(np.partition(squares, wanted, axis=1)[:, wanted], 0.0)).astype(np.float64)
        return np.where(queries.norms < FAR, likely, np.inf)

    @cached_property
    def _sample(self) -> NDArray[np.float32]:
        return self.coarse[evenly_spread(len(self), SAMPLE_ROWS)]

    def _with_far(
        self, candidates: Candidates, queries: Projected, within: Floats, near: NDArray[np.bool_]
    ) -> Candidates:
        """Queries beyond what float32 computes are near all references or none."""
        least = queries.norms * (1 - COARSE_ROUNDING) - self.reach
        rows = np.flatnonzero(~near & (least < within))
        if not len(rows):
            return candidates
        return Candidates(
            np.concatenate([candidates.rows, np.repeat(rows, len(self))]),
            np.concatenate([candidates.numbers, np.tile(np.arange(len(self)), len(rows))]),
            np.concatenate([candidates.bounds, np.repeat(least[rows], len(self))]),
        )


def fine_dimensions(width: int) -> int:
    """Coordinates of the fine bound for vectors of ``width`` values."""
    return min(width, max(COARSE, min(width // FINE_SHARE, FINE_MOST)))


def _coarse(coordinates: Floats, cut: int) -> NDArray[np.float32]:
    """The first coordinates, the norm of all others, and half of the squared norm of both, float32."""
    rest = np.sqrt(np.einsum("nm,nm->n", coordinates[:, cut:], coordinates[:, cut:]))
    halves = 0.5 * np.einsum("nm,nm->n", coordinates, coordinates)
    return np.column_stack([coordinates[:, :cut], rest, halves]).astype(np.float32)


def _conservative(lengths: Floats, norms: Floats, rounding: float) -> Floats:
    """What a distance is at least where its bound was computed as ``lengths`` from coordinates that were rounded.

    A reference's coordinates err by up to rounding * |z|, with |z| <= |x| + d; solved for d.
    """
    return np.maximum((lengths * (1 - rounding) - 2 * rounding * norms) / (1 + rounding), 0.0)


def _spread(blocks: Sequence[NDArray[np.float16]], count: int) -> NDArray[np.float32]:
    """At most ``count`` references, evenly spread, float32."""
    numbers = evenly_spread(sum(map(len, blocks)), count)
    return np.concatenate(list(_picked(blocks, numbers))).astype(np.float32)


def evenly_spread(total: int, count: int) -> Integers:
    """At most ``count`` of ``total`` numbers, ascending."""
    return np.arange(min(total, count), dtype=np.int64) * total // max(1, min(total, count))


def _picked(blocks: Sequence[NDArray[np.float16]], numbers: Integers) -> Iterable[NDArray[np.float16]]:
    start = 0
    for block in blocks:
        yield block[numbers[(numbers >= start) & (numbers < start + len(block))] - start]
        start += len(block)
