"""The coarse bound of a Protected Index: a table of coordinates tells which references may be near.

Half of the coordinates rule out nearly all references, and reading these is what the search takes, where it cannot pass
over whole leaves; the other half is looked at for what is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .bounds import (
    COARSE_ROUNDING,
    Candidates,
    Floats,
    Integers,
    Projected,
    columns,
    outline,
    widened,
)
from .leaves import Leaves, leaf_order
from .product import SCAN_ROWS, NearProduct

FIRST = 16
"""Coordinates of the first half."""


@dataclass(frozen=True)
class CoarseTable:
    """Coarse coordinates of all references, in the order of their leaves.

    Attributes:
        numbers: which reference stands at each place, shape (N,), int32.
        first: shape (N, a + 2), float32: a coordinates, the norm of all others, half of the squared norm of both.
        second: shape (N, c - a + 2), float32: the next coordinates, the norm of all others, and the norm in ``first``,
            so that a product with the first half becomes one with both without reading ``first`` again.
        reach: no reference is farther from the centre.
    """

    numbers: NDArray[np.int32]
    first: NDArray[np.float32]
    second: NDArray[np.float32]
    reach: float

    def __len__(self) -> int:
        return len(self.first)

    @classmethod
    def empty(cls, count: int, coordinates: int) -> CoarseTable:
        """A table to be filled, of ``count`` references and c coordinates."""
        first = min(FIRST, coordinates)
        widths = first + 2, coordinates - first + 2
        tables = (np.empty((count, width), np.float32) for width in widths)
        return cls(np.arange(count, dtype=np.int32), *tables, reach=0.0)

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
        # Numbers and places.
        return 2 * self.numbers.nbytes + self.first.nbytes + self.second.nbytes

    def fill(self, place: slice, coordinates: Floats) -> None:
        """Set what stands at some places from all of its coordinates, shape (n, m + 1)."""
        self.first[place] = columns(coordinates, self.first_cut)
        self.second[place, :-1] = outline(coordinates, self.cut)[:, self.first_cut :]
        self.second[place, -1] = self.first[place, -2]

    def ordered(self, reach: float) -> CoarseTable:
        """The filled table in the order of its leaves."""
        order = leaf_order(self.first[:, :-1])
        return CoarseTable(self.numbers[order], self.first[order], self.second[order], reach)

    def joined(self, numbers: Integers) -> NDArray[np.float32]:
        """Some references: c coordinates, the norm of all others, half of the squared norm of both; (n, c + 2)."""
        places = self._places[numbers]
        first, second = self.first.take(places, axis=0), self.second.take(places, axis=0)
        return np.concatenate([first[:, :-2], second[:, :-1], first[:, -1:]], axis=1)

    def scan(self, queries: Projected, within: Floats) -> Candidates:
        """Every pair that may be closer than ``within``, shape (B,)."""
        limit = widened(within, queries.norms, COARSE_ROUNDING)
        product = NearProduct(queries, limit, self.first_cut, self.cut)
        found, products = product.near_any(self.first, self._spans(queries, limit))
        parts = []
        for start in range(0, len(found), SCAN_ROWS):
            some = slice(start, start + SCAN_ROWS)
            places, rows, bounds = product.pairs(products[some], self.second.take(found[some], axis=0))
            parts.append(Candidates(rows, self.numbers[found[some][places]].astype(np.int64), bounds))
        # Queries beyond what float32 computes are near all references or none.
        least = queries.norms * (1 - COARSE_ROUNDING) - self.reach
        far = np.flatnonzero(~queries.near & (least < within))
        for row in far.tolist():
            numbers = np.arange(len(self))
            parts.append(Candidates(np.full(len(self), row), numbers, np.full(len(self), least[row])))
        return Candidates.joined(parts) if parts else Candidates.none()

    def _spans(self, queries: Projected, limit: Floats) -> list[slice]:
        """Where references may be whose computed distance to what float32 can compute is below ``limit``."""
        points = outline(queries.coordinates[queries.near], self.first_cut)
        return self._leaves.spans(points, limit[queries.near], SCAN_ROWS)

    @cached_property
    def _leaves(self) -> Leaves:
        return Leaves.of(self.first[:, :-1])

    @cached_property
    def _places(self) -> NDArray[np.int32]:
        """At which place each reference stands."""
        places = np.empty_like(self.numbers)
        places[self.numbers] = np.arange(len(places), dtype=np.int32)
        return places
