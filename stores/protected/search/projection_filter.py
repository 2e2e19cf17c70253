"""The filter of a Protected Index: a few numbers per reference find those that a search must read.

The numbers are coordinates that never lengthen a distance (``kernels.shields.projection_bounds``). One matrix product
compares those of all references with those of a batch. The bounds include every rounding error, so that no reference
inside the radius is missed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....kernels.shields.projection_bounds import Projection, fit_projection
from ...files import to_float32

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.int64]

MIN_COORDINATES, COORDINATES_SHARE, MAX_COORDINATES = 32, 128, 96
"""Number of coordinates: 1/128 of a vector's values, from 32 to 96, and at most 1/4 of the values."""

ROUNDING = 2e-5
"""Error of coordinates relative to the distance from the centre: of the projection and float32, with a margin."""

PRODUCT_ROUNDING = 1e-5
"""Error of a float32 product relative to half of both squared norms, with a margin."""

FAR = 1e12
"""Distance from the centre beyond which products are taken in float64, since float32 may overflow."""

SCAN_ROWS = 16_384
"""References per matrix product; the result stays in the processor's cache."""

SAMPLE_VALUES = 1 << 25
"""Values of the sample that the projection is fitted to: 128 MB of float32."""

CHUNK_VALUES = 1 << 20
"""Values projected at once: 8 MB of float64."""


@dataclass(frozen=True)
class Candidates:
    """Pairs (query, reference) and lower bounds of their distances.

    Attributes:
        rows: numbers of the queries, shape (M,).
        numbers: numbers of the references, shape (M,).
        bounds: shape (M,), float64.
    """

    rows: Integers
    numbers: Integers
    bounds: Floats

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, which: NDArray[np.bool_] | Integers) -> Candidates:
        """The pairs where a mask is true, or at some places."""
        return Candidates(self.rows[which], self.numbers[which], self.bounds[which])

    @classmethod
    def none(cls) -> Candidates:
        """No pair."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))


@dataclass(frozen=True)
class ProjectionFilter:
    """Coordinates of all references.

    Attributes:
        projection: to m coordinates and the norm of the rest.
        table: coordinates of each reference and half of their squared norm, shape (N, m + 2), float32.
    """

    projection: Projection
    table: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.table)

    @classmethod
    def fit(cls, blocks: Sequence[NDArray[np.float16]]) -> ProjectionFilter:
        """Fit a filter to references in blocks (n, D), deterministically."""
        count, width = sum(map(len, blocks)), blocks[0].shape[1]
        projection = fit_projection(_sample(blocks, max(1, SAMPLE_VALUES // width)), _coordinate_count(width))
        table = np.empty((count, len(projection.basis) + 2), np.float32)
        end = 0
        for block in blocks:
            for chunk in np.array_split(block, max(1, block.size // CHUNK_VALUES)):
                start, end = end, end + len(chunk)
                inside = projection.coordinates(to_float32(chunk))
                table[start:end] = np.column_stack([inside, np.einsum("nm,nm->n", inside, inside) / 2])
        return cls(projection, table)

    @property
    def nbytes(self) -> int:
        """Bytes of the table and the basis."""
        return self.table.nbytes + self.projection.basis.nbytes

    def project(self, points: Floats) -> Floats:
        """Coordinates (B, m + 1), float64, of finite points (B, D)."""
        return self.projection.coordinates(points)

    def candidates(self, coordinates: Floats, within: Floats) -> Candidates:
        """All pairs that may be closer than ``within``, shape (B,), of queries by their coordinates (B, m + 1).

        |x - z|^2 < r^2 is equivalent to x.z - |z|^2 / 2 > (|x|^2 - r^2) / 2: one product and one comparison.
        """
        norms = lengths(coordinates)
        dtype = np.float32 if norms.max(initial=0) < FAR else np.float64
        limits, halves = inflate_radius(within, norms), norms * norms / 2 * (1 - 2 * PRODUCT_ROUNDING)
        least = np.maximum(halves - limits * limits / 2, np.finfo(dtype).min).astype(dtype)
        queries = np.pad(coordinates, ((0, 0), (0, 1)), constant_values=PRODUCT_ROUNDING - 1).astype(dtype)
        parts = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
        for start in range(0, len(self), SCAN_ROWS):
            # In this order the product takes half as long as the transposed one.
            products = self.table[start : start + SCAN_ROWS].astype(dtype, copy=False) @ queries.T
            places, rows = np.divmod(np.flatnonzero(products >= least), len(queries))
            parts.append((rows, places + start, products[places, rows]))
        rows, numbers, products = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        computed = np.sqrt(np.maximum(2 * (halves[rows] - products), 0))
        return Candidates(rows, numbers, lower_bound(computed, norms[rows]))

    def bounds(self, coordinates: Floats, rows: Integers, numbers: Integers) -> Floats:
        """Lower bounds of the distances of pairs (row of the coordinates, reference), shape (M,)."""
        differences = self.table.take(numbers, axis=0)[:, :-1] - coordinates.take(rows, axis=0)
        return lower_bound(lengths(differences), lengths(coordinates)[rows])


def lower_bound(computed: Floats, norms: Floats) -> Floats:
    """Lower bound of the distance d of queries, ``norms`` from the centre, from the distance of rounded coordinates.

    The coordinates of a reference z err by at most ROUNDING * |z|, and |z| <= |x| + d; solved for d.
    """
    return np.maximum((computed * (1 - ROUNDING) - 2 * ROUNDING * norms) / (1 + ROUNDING), 0.0)


def inflate_radius(within: Floats, norms: Floats) -> Floats:
    """The radius in rounded coordinates that contains every reference closer than ``within``."""
    return (within + ROUNDING * (2 * norms + within)) * (1 + ROUNDING)


def lengths(vectors: Floats) -> Floats:
    """Norms of vectors (n, m), shape (n,), summed in float64."""
    return np.sqrt(np.einsum("nm,nm->n", vectors, vectors, dtype=np.float64))


def evenly_spread(total: int, count: int) -> Integers:
    """At most ``count`` of ``total`` numbers, ascending."""
    return np.arange(min(total, count), dtype=np.int64) * total // max(1, min(total, count))


def _coordinate_count(width: int) -> int:
    return min(-(-width // 4), max(MIN_COORDINATES, min(width // COORDINATES_SHARE, MAX_COORDINATES)))


def _sample(blocks: Sequence[NDArray[np.float16]], count: int) -> NDArray[np.float32]:
    """At most ``count`` references, evenly spread."""
    numbers = evenly_spread(sum(map(len, blocks)), count)
    return to_float32(np.concatenate(list(_taken(blocks, numbers))))


def _taken(blocks: Sequence[NDArray[np.float16]], numbers: Integers) -> Iterable[NDArray[np.float16]]:
    start = 0
    for block in blocks:
        yield block[numbers[(numbers >= start) & (numbers < start + len(block))] - start]
        start += len(block)
