"""Vectors of a Protected Index that a run has read: read and checked once, then kept in float32 while there is room."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .protected_index import ProtectedIndex

CACHE_BYTES = 64 * 2**20


class VectorCache:
    """Reads references of an index by number.

    Args:
        index: the index.
        limit: memory that is kept; what one call asks for may exceed it.
    """

    def __init__(self, index: ProtectedIndex, limit: int = CACHE_BYTES) -> None:
        self.read = 0
        """References read from disk so far."""
        self._index = index
        self._limit = max(1, limit // (4 * index.manifest.width))
        self._place = np.full(len(index), -1, np.int32)
        self._vectors = np.empty((0, index.manifest.width), np.float32)
        self._held = 0

    def holds(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these references are here."""
        return self._place[numbers] >= 0

    def vectors(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """References of these numbers, which may repeat, shape (n, D), float32.

        Raises:
            IndexDamagedError: one of them is damaged.
        """
        missing = np.unique(numbers[~self.holds(numbers)])
        if len(missing) and self._held + len(missing) > self._limit:
            self._place[:] = -1
            self._held = 0
            missing = np.unique(numbers)
        if len(missing):
            fresh = self._index.read(missing)
            end = self._held + len(missing)
            if end > len(self._vectors):
                grown = np.empty((max(end, min(2 * end, self._limit)), fresh.shape[1]), np.float32)
                grown[: self._held] = self._vectors[: self._held]
                self._vectors = grown
            self._vectors[self._held : end] = fresh
            self._place[missing] = np.arange(self._held, end)
            self._held = end
            self.read += len(missing)
        return self._vectors[self._place[numbers]]
