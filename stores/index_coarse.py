"""The coarse bound of a Protected Index: a matrix product tells which references may be near.

Squared distances of coordinates are |z|^2 + |x|^2 - 2 x.z; with half of |z|^2 as one more column their comparison with
a limit is a comparison of products. Half of the coordinates rule out nearly all references, and reading these is what
the search takes; the other half is looked at for what is left. Every rounding is part of the bound: what is passed over
is farther than was asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.int64]

FIRST = 16
"""Coordinates of the first half."""

SCAN_ROWS = 16_384
"""References that one matrix product compares: it stays in the processor's cache."""

COARSE_ROUNDING = 2e-5
"""Relative error of coordinates in float32, with room."""

PRODUCT_ROUNDING = 1e-5
"""Of the matrix product relative to half of both squared norms: float32 and a few dozen terms, with room."""

FAR = 1e12
"""Beyond this distance from the centre float32 may overflow in products; no reference is there."""

AT_ONCE = 8
"""Products of fewer columns take as long, and what eight comparisons say fits into one 64-bit number."""


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

    @classmethod
    def joined(cls, parts: list[Candidates]) -> Candidates:
        """All of several."""
        return cls(
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.numbers for part in parts]),
            np.concatenate([part.bounds for part in parts]),
        )


@dataclass(frozen=True)
class Projected:
    """Queries as the filter sees them.

    Attributes:
        coordinates: shape (B, m + 1), float64.
        norms: distance from the filter's centre, shape (B,).
    """

    coordinates: Floats
    norms: Floats

    @property
    def near(self) -> NDArray[np.bool_]:
        """Which of them are where float32 can compute."""
        return self.norms < FAR

    def picked(self, rows: Integers) -> Projected:
        """Some of them."""
        return Projected(self.coordinates[rows], self.norms[rows])


@dataclass(frozen=True)
class CoarseTable:
    """Coarse coordinates of all references.

    Attributes:
        first: shape (N, a + 2), float32: a coordinates, the norm of all others, half of the squared norm of both.
        second: shape (N, c - a + 1), float32: the next coordinates, and the norm of all others.
        reach: no reference is farther from the centre.
    """

    first: NDArray[np.float32]
    second: NDArray[np.float32]
    reach: float

    def __len__(self) -> int:
        return len(self.first)

    @classmethod
    def empty(cls, count: int, coordinates: int) -> CoarseTable:
        """A table to be filled, of ``count`` references and c coordinates."""
        first = min(FIRST, coordinates)
        shapes = (count, first + 2), (count, coordinates - first + 1)
        return cls(np.empty(shapes[0], np.float32), np.empty(shapes[1], np.float32), 0.0)

    @property
    def first_cut(self) -> int:
        """Number of coordinates a."""
        return self.first.shape[1] - 2

    @property
    def cut(self) -> int:
        """Number of coordinates c."""
        return self.first_cut + self.second.shape[1] - 1

    @property
    def nbytes(self) -> int:
        """Memory of the coordinates."""
        return self.first.nbytes + self.second.nbytes

    def fill(self, place: slice, coordinates: Floats) -> None:
        """Set some references from all of their coordinates, shape (n, m + 1)."""
        self.first[place] = columns(coordinates, self.first_cut)
        self.second[place] = columns(coordinates, self.cut)[:, self.first_cut : -1]

    def joined(self, numbers: Integers) -> NDArray[np.float32]:
        """Some references: c coordinates, the norm of all others, half of the squared norm of both; (n, c + 2)."""
        first, second = self.first.take(numbers, axis=0), self.second.take(numbers, axis=0)
        return np.concatenate([first[:, :-2], second, first[:, -1:]], axis=1)

    def scan(self, queries: Projected, within: Floats) -> Candidates:
        """Every pair that may be closer than ``within``, shape (B,)."""
        coarser, finer = (_Product(queries, within, cut) for cut in (self.first_cut, self.cut))
        found = coarser.near_any(self.first)
        parts = []
        for numbers in np.array_split(found, -(-len(found) // SCAN_ROWS) or 1):
            places, rows, bounds = finer.pairs(self.joined(numbers))
            parts.append(Candidates(rows, numbers[places], bounds))
        # Queries beyond what float32 computes are near all references or none.
        least = queries.norms * (1 - COARSE_ROUNDING) - self.reach
        far = np.flatnonzero(~queries.near & (least < within))
        for row in far.tolist():
            numbers = np.arange(len(self))
            parts.append(Candidates(np.full(len(self), row), numbers, np.full(len(self), least[row])))
        return Candidates.joined(parts)


class _Product:
    """Compares queries with references by some of their coordinates.

    Args:
        queries: as the filter sees them.
        within: distances asked for, shape (B,).
        cut: number of coordinates.
    """

    def __init__(self, queries: Projected, within: Floats, cut: int) -> None:
        points = columns(queries.coordinates, cut)
        self._norms = queries.norms
        self._halves = points[:, -1].astype(np.float64) * (1 - 2 * PRODUCT_ROUNDING)
        points[:, -1] = -(1 - PRODUCT_ROUNDING)
        limit = (within + COARSE_ROUNDING * (2 * queries.norms + within)) * (1 + COARSE_ROUNDING)
        least = np.maximum(self._halves - limit * limit / 2, np.finfo(np.float32).min)
        # No product reaches infinity: neither those of far queries nor those that only fill up.
        width = 1 if len(points) == 1 else -(-len(points) // AT_ONCE) * AT_ONCE
        least = np.pad(np.where(queries.near, least, np.inf), (0, width - len(points)), constant_values=np.inf)
        self._least = least.astype(np.float32)
        self._directions = np.zeros((cut + 2, width), np.float32)
        self._directions[:, : len(points)] = points.T

    def near_any(self, references: NDArray[np.float32]) -> Integers:
        """Places of the references, shape (n, cut + 2), that may be inside for any query; n may be millions."""
        rows, width = min(SCAN_ROWS, len(references)), len(self._least)
        # Kept for all chunks: fresh memory costs as much as the products, and so does comparing with a short row.
        least = np.tile(self._least, (rows, 1))
        products, near = np.empty_like(least), np.empty(least.shape, np.bool_)
        words = near if width == 1 else near.view(np.uint64)
        found = []
        for start in range(0, len(references), rows):
            chunk = references[start : start + rows]
            count = len(chunk)
            np.matmul(chunk, self._directions, out=products[:count])
            np.greater_equal(products[:count], least[:count], out=near[:count])
            told = words[:count] if width <= AT_ONCE else words[:count].any(axis=1)
            found.append(np.flatnonzero(told) + start)
        return np.concatenate(found)

    def pairs(self, references: NDArray[np.float32]) -> tuple[Integers, Integers, Floats]:
        """Pairs that may be inside: places of the references (n, cut + 2), rows of the queries, and their bounds."""
        products = references @ self._directions
        places, rows = (products >= self._least).nonzero()
        squares = 2 * self._halves[rows] - 2 * products[places, rows].astype(np.float64)
        return places, rows, conservative(np.sqrt(np.maximum(squares, 0.0)), self._norms[rows], COARSE_ROUNDING)


def conservative(lengths: Floats, norms: Floats, rounding: float) -> Floats:
    """What a distance is at least where its bound was computed as ``lengths`` from coordinates that were rounded.

    A reference's coordinates err by up to rounding * |z|, with |z| <= |x| + d; solved for d.
    """
    return np.maximum((lengths * (1 - rounding) - 2 * rounding * norms) / (1 + rounding), 0.0)


def outline(coordinates: Floats, cut: int) -> Floats:
    """The first coordinates, and the norm of all others, shape (n, cut + 1), float64."""
    outlined = coordinates[:, : cut + 1].copy()
    outlined[:, cut] = np.sqrt(np.einsum("nm,nm->n", coordinates[:, cut:], coordinates[:, cut:]))
    return outlined


def columns(coordinates: Floats, cut: int) -> NDArray[np.float32]:
    """The first coordinates, the norm of all others, and half of the squared norm of both, shape (n, cut + 2)."""
    halves = 0.5 * np.einsum("nm,nm->n", coordinates, coordinates)
    return np.column_stack([outline(coordinates, cut), halves]).astype(np.float32)
