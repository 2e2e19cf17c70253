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
"""Of both matrix products relative to half of both squared norms: float32 and a few dozen terms, with room."""

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
    def none(cls) -> Candidates:
        """No pair."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))

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
        second: shape (N, c - a + 2), float32: the next coordinates, the norm of all others, and the norm in ``first``,
            so that a product with the first half becomes one with both without reading ``first`` again.
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
        shapes = (count, first + 2), (count, coordinates - first + 2)
        return cls(np.empty(shapes[0], np.float32), np.empty(shapes[1], np.float32), 0.0)

    @property
    def first_cut(self) -> int:
        """Number of coordinates a."""
        return self.first.shape[1] - 2

    @property
    def cut(self) -> int:
        """Number of coordinates c."""
        return self.first_cut + self.second.shape[1] - 2

    @property
    def nbytes(self) -> int:
        """Memory of the coordinates."""
        return self.first.nbytes + self.second.nbytes

    def fill(self, place: slice, coordinates: Floats) -> None:
        """Set some references from all of their coordinates, shape (n, m + 1)."""
        self.first[place] = columns(coordinates, self.first_cut)
        self.second[place, :-1] = outline(coordinates, self.cut)[:, self.first_cut :]
        self.second[place, -1] = self.first[place, -2]

    def joined(self, numbers: Integers) -> NDArray[np.float32]:
        """Some references: c coordinates, the norm of all others, half of the squared norm of both; (n, c + 2)."""
        first, second = self.first.take(numbers, axis=0), self.second.take(numbers, axis=0)
        return np.concatenate([first[:, :-2], second[:, :-1], first[:, -1:]], axis=1)

    def scan(self, queries: Projected, within: Floats) -> Candidates:
        """Every pair that may be closer than ``within``, shape (B,)."""
        product = _Product(queries, within, self.first_cut, self.cut)
        found, products = product.near_any(self.first)
        parts = []
        for start in range(0, len(found), SCAN_ROWS):
            some = slice(start, start + SCAN_ROWS)
            places, rows, bounds = product.pairs(products[some], self.second.take(found[some], axis=0))
            parts.append(Candidates(rows, found[some][places], bounds))
        # Queries beyond what float32 computes are near all references or none.
        least = queries.norms * (1 - COARSE_ROUNDING) - self.reach
        far = np.flatnonzero(~queries.near & (least < within))
        for row in far.tolist():
            numbers = np.arange(len(self))
            parts.append(Candidates(np.full(len(self), row), numbers, np.full(len(self), least[row])))
        return Candidates.joined(parts) if parts else Candidates.none()


class _Product:
    """Compares queries with references by some of their coordinates, and by some more where that leaves them near.

    Args:
        queries: as the filter sees them.
        within: distances asked for, shape (B,).
        first: number of coordinates a.
        cut: number of coordinates c.
    """

    def __init__(self, queries: Projected, within: Floats, first: int, cut: int) -> None:
        points = columns(queries.coordinates, first)
        self._norms = queries.norms
        self._halves = points[:, -1].astype(np.float64) * (1 - 2 * PRODUCT_ROUNDING)
        points[:, -1] = -(1 - PRODUCT_ROUNDING)
        limit = (within + COARSE_ROUNDING * (2 * queries.norms + within)) * (1 + COARSE_ROUNDING)
        least = np.maximum(self._halves - limit * limit / 2, np.finfo(np.float32).min)
        # No product reaches infinity: neither those of far queries nor those that only fill up.
        width = 1 if len(points) == 1 else -(-len(points) // AT_ONCE) * AT_ONCE
        least = np.pad(np.where(queries.near, least, np.inf), (0, width - len(points)), constant_values=np.inf)
        self._least = least.astype(np.float32)
        self._directions = np.zeros((first + 2, width), np.float32)
        self._directions[:, : len(points)] = points.T
        # What the first product has of the norm of all others, the second takes back.
        self._further = np.zeros((cut - first + 2, width), np.float32)
        self._further[:-1, : len(points)] = outline(queries.coordinates, cut)[:, first:].T
        self._further[-1] = -self._directions[-2]

    def near_any(self, references: NDArray[np.float32]) -> tuple[Integers, NDArray[np.float32]]:
        """The references, shape (n, a + 2), that may be inside for any query; n may be millions.

        Returns:
            Their places, shape (k,), and their products with all queries, shape (k, at least B).
        """
        rows, width = min(SCAN_ROWS, len(references)), len(self._least)
        # Kept for all chunks: fresh memory costs as much as the products, and so does comparing with a short row.
        least = np.tile(self._least, (rows, 1))
        products, near = np.empty_like(least), np.empty(least.shape, np.bool_)
        words = near if width == 1 else near.view(np.uint64)
        found: list[Integers] = []
        kept: list[NDArray[np.float32]] = []
        for start in range(0, len(references), rows):
            chunk = references[start : start + rows]
            count = len(chunk)
            np.matmul(chunk, self._directions, out=products[:count])
            np.greater_equal(products[:count], least[:count], out=near[:count])
            told = words[:count] if width <= AT_ONCE else words[:count].any(axis=1)
            found.append(np.flatnonzero(told))
            kept.append(products.take(found[-1], axis=0))
            found[-1] += start
        return np.concatenate(found), np.concatenate(kept)

    def pairs(
        self, products: NDArray[np.float32], references: NDArray[np.float32]
    ) -> tuple[Integers, Integers, Floats]:
        """Pairs that may be inside: places of the references, rows of the queries, and their bounds.

        Args:
            products: from ``near_any``, shape (k, at least B).
            references: of the same ones the next coordinates, shape (k, c - a + 2).
        """
        finer = references @ self._further
        finer += products
        places, rows = np.divmod(np.flatnonzero(finer >= self._least), finer.shape[1])
        squares = 2 * self._halves[rows] - 2 * finer[places, rows].astype(np.float64)
        return places, rows, conservative(np.sqrt(np.maximum(squares, 0.0)), self._norms[rows], COARSE_ROUNDING)


def conservative(lengths: Floats, norms: Floats, rounding: float) -> Floats:
    """What a distance is at least where its bound was computed as ``lengths`` from coordinates that were rounded.

    A reference's coordinates err by up to rounding * |z|, with |z| <= |x| + d; solved for d.
    """
    return np.maximum((lengths * (1 - rounding) - 2 * rounding * norms) / (1 + rounding), 0.0)


def outline(coordinates: Floats, cut: int) -> Floats:
    """The first coordinates, and the norm of all others, shape (n, cut + 1), float64."""
    outlined = np.array(coordinates[:, : cut + 1])
    outlined[:, cut] = np.sqrt(np.einsum("nm,nm->n", coordinates[:, cut:], coordinates[:, cut:]))
    return outlined


def columns(coordinates: Floats, cut: int) -> NDArray[np.float32]:
    """The first coordinates, the norm of all others, and half of the squared norm of both, shape (n, cut + 2)."""
    halves = 0.5 * np.einsum("nm,nm->n", coordinates, coordinates)
    return np.column_stack([outline(coordinates, cut), halves]).astype(np.float32)
