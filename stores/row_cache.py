"""Rows that a run has read: read once, then kept in float32 while there is room."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

CACHE_BYTES = 64 * 2**20


class RowCache:
    """Rows of a table by number.

    Args:
        read: gives the rows (n, width) of distinct, ascending numbers.
        count: how many rows the table has.
        width: numbers in a row.
        limit: memory that is kept, in bytes; what one call asks for may exceed it.
    """

    def __init__(
        self,
        read: Callable[[NDArray[np.int64]], NDArray[np.float32]],
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

    def rows(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """The rows of these numbers, which may repeat, shape (n, width), a copy.

        Raises:
            Exception: whatever reading raises; nothing is kept then.
        """
        places = self._place[numbers]
        if np.count_nonzero(places < 0):
            self._fetch(numbers, np.unique(numbers[places < 0]))
            places = self._place[numbers]
        return self._rows.take(places, axis=0)

    def _fetch(self, numbers: NDArray[np.int64], missing: NDArray[np.int64]) -> None:
        if self._held + len(missing) > self._limit:
            self._place[:] = -1
            self._held = 0
            missing = np.unique(numbers)
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
