"""Lists of the references near the estimates of a run, so that most sampling steps need no search.

These are the neighbour lists of molecular dynamics (Verlet 1967). A search reaches beyond the radius and lists what it
finds. Until an estimate has moved by the difference, no other reference can come inside. Movement is measured in the
filter's coordinates, which the search compared too; estimates move less there than in full.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ....kernels.shields.field import check_radius
from ..hits import Hits, measured, surface
from ..index import ProtectedIndex
from .projection_filter import ROUNDING, Candidates, Floats, Integers, lengths

SKIN = 1.4
"""How far beyond the radius a search reaches, relative to it."""

CACHE_BYTES = 64 * 2**20
"""Limit of the vectors kept in memory."""


class NeighbourList:
    """Gives the hits of ``ProtectedIndex.within`` in every step of one run.

    Args:
        index: the index.
        skin: how far beyond the radius a search reaches, relative to it.

    Attributes:
        searched: number of estimates for which the index was searched, over all steps.
        skipped: number of estimates for which the list sufficed.
    """

    def __init__(self, index: ProtectedIndex, skin: float = SKIN) -> None:
        self._index = index
        self._skin = skin
        self._read = _cached(index.read, CACHE_BYTES // (4 * index.manifest.width))
        self._anchors, self._reach, self._list = np.empty((0, 0)), 0.0, Candidates.none()
        self.searched = self.skipped = 0

    def within(self, points: Tensor, radius: float) -> Hits:
        """All references inside the radius of an estimate.

        Args:
            points: shape (B, D) or (B, *shape), in the order of the last step.
            radius: may change from step to step.

        Raises:
            IndexSpaceError: the points have the wrong number of values.
            IndexDamagedError: a candidate is damaged.
            ValueError: the radius is negative or NaN.
        """
        index_filter = self._index.filter
        if index_filter is None:
            return self._index.within(points, radius)
        check_radius(radius)
        queries = self._index.points(points)
        finite = np.asarray(np.isfinite(queries).all(axis=1))
        now, inside = index_filter.project(np.where(finite[:, None], queries, 0)), surface(radius)
        if len(now) != len(self._anchors) or not np.all(_apart(now, self._anchors)[finite] + inside < self._reach):
            # One product for a batch takes hardly longer than for one estimate.
            self._anchors, self._reach = now, inside * (1 + self._skin)
            self._list = index_filter.candidates(now, np.full(len(now), self._reach))
            self.searched += int(finite.sum())
        else:
            self.skipped += int(finite.sum())
        near = np.where(finite, _apart(now, self._anchors) + inside, -math.inf)
        found = self._list.take(self._list.bounds < near[self._list.rows])
        found = found.take(index_filter.bounds(now, found.rows, found.numbers) < inside)
        distances = measured(queries, found.rows, found.numbers, self._read)
        return Hits.among(found.rows, found.numbers, distances, radius, self._read)


def _cached(read: Callable[[Integers], NDArray[np.float32]], room: int) -> Callable[[Integers], NDArray[np.float32]]:
    """``read`` with a cache of up to about ``room`` rows, which is emptied when full."""
    kept: dict[int, NDArray[np.float32]] = {}

    def rows(numbers: Integers) -> NDArray[np.float32]:
        missing = [number for number in dict.fromkeys(numbers.tolist()) if number not in kept]
        if len(kept) + len(missing) > room:
            kept.clear()
            missing = list(dict.fromkeys(numbers.tolist()))
        fresh = read(np.array(missing, np.int64))
        kept.update(zip(missing, fresh, strict=True))
        return np.stack([kept[number] for number in numbers.tolist()]) if len(numbers) else fresh

    return rows


def _apart(some: Floats, others: Floats) -> Floats:
    """Upper bounds of the distances between points in coordinates, shape (B,)."""
    return lengths(some - others) + ROUNDING * (lengths(some) + lengths(others))
