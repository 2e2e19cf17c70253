"""The references near the estimates of a run, listed so that most sampling steps need no search.

A search looks farther than the radius and lists what it finds. Until an estimate has moved by the difference, nothing
else can come inside: the neighbour lists of molecular dynamics (Verlet 1967). Movement is measured in the filter's
coordinates, whose distances are what the search compared; estimates move less there than in full.
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

SKIN = 1.0
"""How much farther than the radius a search looks, as a share of it."""

CACHE_BYTES = 64 * 2**20
"""Vectors that are kept in memory."""


class NeighbourList:
    """Gives the hits of ``ProtectedIndex.within`` in every step of one run; estimates keep their rows.

    Args:
        index: the index.
        skin: how much farther than the radius searches look, as a share of it.

    Attributes:
        searched: estimates for which the index was searched, over all steps.
        skipped: estimates for which the list was enough.
    """

    def __init__(self, index: ProtectedIndex, skin: float = SKIN) -> None:
        self._index = index
        self._skin = skin
        self._read = _cached(index.read, CACHE_BYTES // (4 * index.manifest.width))
        self._anchors, self._reach, self._list = np.empty((0, 0)), 0.0, Candidates.none()
        self.searched = self.skipped = 0

    def within(self, points: Tensor, radius: float) -> Hits:
        """Every reference inside the radius of an estimate, none left out.

        Args:
            points: shape (B, D) or (B, *shape), in the order of the last step's.
            radius: may change from step to step.

        Raises:
            IndexSpaceError: the points have another number of values.
            IndexDamagedError: a candidate is damaged.
            ValueError: the radius is negative or not a number.
        """
        index_filter = self._index.filter
        if index_filter is None:
            return self._index.within(points, radius)
        check_radius(radius)
        queries = self._index.points(points)
        finite = np.asarray(np.isfinite(queries).all(axis=1))
        now, inside = index_filter.project(np.where(finite[:, None], queries, 0)), surface(radius)
        if len(now) != len(self._anchors) or not np.all(_apart(now, self._anchors)[finite] + inside < self._reach):
            # One product serves a batch in hardly more time than one estimate.
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
    """``read`` that keeps up to about ``room`` rows, and forgets all when there are more."""
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
    """Upper bounds of the distances between points by their coordinates, shape (B,)."""
    return lengths(some - others) + ROUNDING * (lengths(some) + lengths(others))
