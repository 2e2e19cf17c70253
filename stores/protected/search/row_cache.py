"""Rows that a run has read: read once, then kept in float32 while there is room.

Because they lie together, one matrix product tells of all of them how near they are to some points.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .bounds import Floats, Integers, squared_lengths

CACHE_BYTES = 64 * 2**20

TERMS = 1024
"""Terms of a product that are summed in float32; such sums are added in float64."""

PRODUCT_ROUNDING = 1.01 * TERMS * 2.0**-24
"""Error of such a sum relative to both lengths, in whatever order it is summed (Higham, Accuracy and Stability of
Numerical Algorithms, section 3.1)."""

VANISHING = float(np.finfo(np.float32).tiny)
"""What a term smaller than this may lose at most."""

WORTH, FEW_VALUES = 2, 1 << 17
"""Rows for each pair up to which comparing all rows with all points takes less time than the pairs one by one, and how
many values pairs must have for that."""


class RowCache:
    """Rows of a table by number.

    Args:
        read: gives the rows (n, width) of distinct numbers.
        count: how many rows the table has.
        width: numbers in a row.
        limit: memory that is kept, in bytes; what one call asks for may exceed it.
    """

    def __init__(
        self,
        read: Callable[[Integers], NDArray[np.float32]],
        count: int,
        width: int,
        limit: int = CACHE_BYTES,
    ) -> None:
        self.fetched = 0
        """Rows read so far."""
        self._read = read
        self._limit = max(1, limit // (4 * width))
        self._place = np.full(count, -1, np.int32)
        self._rows = np.empty((0, width), np.float32)
        self._held = 0
        # Half of the squared lengths of the first rows.
        self._halves = np.empty(0)

    def rows(self, numbers: Integers) -> NDArray[np.float32]:
        """The rows of these numbers, which may repeat, shape (n, width), a copy.

        Raises:
            Exception: whatever reading raises; nothing is kept then.
        """
        places = self._place.take(numbers)
        if np.count_nonzero(places < 0):
            self._fetch(numbers, self._distinct(numbers[places < 0]))
            places = self._place.take(numbers)
        return self._rows.take(places, axis=0)

    def kept(self, numbers: Integers) -> NDArray[np.bool_]:
        """Of which numbers' rows ``least`` is worth asking, shape (M,): of those that are kept, or of none."""
        kept = self._place.take(numbers) >= 0
        count = np.count_nonzero(kept)
        if self._held > WORTH * count or self._rows.shape[1] * count < FEW_VALUES:
            kept[:] = False
        return kept

    def least(self, points: NDArray[np.float32], rows: Integers, numbers: Integers) -> Floats:
        """What distances of pairs (row of the points, number) are at least, shape (M,).

        Args:
            points: shape (B, width), finite.
            rows: shape (M,).
            numbers: of rows that are kept, shape (M,).
        """
        places = self._place.take(numbers).astype(np.int64)
        if len(self._halves) < self._held:
            fresh = squared_lengths(self._rows[len(self._halves) : self._held])
            self._halves = np.concatenate([self._halves, fresh / 2])
        found = self._products(points).take(places * len(points) + rows)
        sums = self._halves.take(places) + (squared_lengths(points) / 2).take(rows)
        halves = sums * (1 - PRODUCT_ROUNDING) - found - points.shape[1] * VANISHING
        # Of points so far away that products overflow nothing is known.
        return np.sqrt(2 * np.maximum(halves, 0.0, where=np.isfinite(found), out=np.zeros(len(found))))

    def _products(self, points: NDArray[np.float32]) -> Floats:
        """Of all rows that are kept with all points."""
        products = np.zeros((self._held, len(points)))
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, points.shape[1], TERMS):
                terms = slice(start, start + TERMS)
                products += self._rows[: self._held, terms] @ points[:, terms].T
        return products

    def _fetch(self, numbers: Integers, missing: Integers) -> None:
        if self._held + len(missing) > self._limit:
            self._place[:] = -1
            self._held = 0
            self._halves = self._halves[:0]
            missing = self._distinct(numbers)
        fresh = self._read(missing)
        end = self._held + len(missing)
        if end > len(self._rows):
            grown = np.empty((max(end, min(2 * end, self._limit)), fresh.shape[1]), np.float32)
            grown[: self._held] = self._rows[: self._held]
            self._rows = grown
        self._rows[self._held : end] = fresh
        self._place[missing] = np.arange(self._held, end)
        self._held = end
        self.fetched += len(missing)

    def _distinct(self, missing: Integers) -> Integers:
        """Each of some numbers once, none of which is kept."""
        # No sorting: of several marks of a number one stays. They are negative: what cannot be read is still missing.
        marks = np.arange(-len(missing), 0, dtype=np.int32)
        self._place[missing] = marks
        return missing[self._place.take(missing) == marks]
