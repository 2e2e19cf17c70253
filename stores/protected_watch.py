"""A Protected Index during one sampling run: the same answers in every step, mostly without a search.

An estimate moves little from step to step, and a distance changes by no more than what it moved. So a search goes
farther than the radius and leaves a list for each estimate, with what the distances are at least; as in the neighbour
lists of molecular dynamics (Verlet 1967) nothing else can come inside before the estimate has moved by what the search
went farther, and of the list only what may have come near by now is compared again.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..kernels.shields import check_radius
from .index_coarse import Candidates, Floats
from .index_filter import IndexFilter
from .index_hits import Hits, measured, surface
from .protected_index import ProtectedIndex
from .vector_cache import CACHE_BYTES, VectorCache

LISTED, LISTED_SHARE = 256, 0.002
"""About so many references are listed for each estimate, and at least this share of all: more save searches."""

LEAST_SKIN = 1.1
"""Searches go at least so much farther than the radius, however many references there are."""

EAGER = 0.2
"""When one estimate is due for a search, those that used up this share of theirs join: a search serves them all."""

ROUNDING = 1e-6
"""Relative error of distances whose differences are float32, with room."""


class Watch:
    """Asks an index in every step of one run; estimates keep their rows.

    Args:
        index: the index.
        listed: about how many references are listed for each estimate.
        cache: bytes of vectors that are kept in memory.

    Attributes:
        searched: estimates for which the index was searched, over all steps.
        skipped: estimates for which that was not needed.
    """

    def __init__(self, index: ProtectedIndex, *, listed: int = LISTED, cache: int = CACHE_BYTES) -> None:
        self.index = index
        self.searched = 0
        self.skipped = 0
        self._listed = max(listed, round(LISTED_SHARE * len(index)))
        self._vectors = VectorCache(index, cache)
        self._begin(np.empty((0, index.manifest.width), np.float32))

    @property
    def candidates_read(self) -> int:
        """References whose vectors were read from disk."""
        return self._vectors.read

    def margin(self, row: int) -> float:
        """What the distance of an estimate, as given last, to its nearest reference is at least."""
        mine = self._list.rows == row
        least = np.maximum(self._list.bounds[mine] - self._away[row], self._until[mine] - self._way[row])
        return max(min(float(self._reach[row] - self._away[row]), float(least.min(initial=math.inf))), 0.0)

    def within(self, points: Tensor, radius: float) -> Hits:
        """The same as ``ProtectedIndex.within`` of the same points.

        Args:
            points: shape (B, D) or (B, *shape), the estimates of the next step, in the order of the last one's.
            radius: may change from step to step.

        Raises:
            IndexSpaceError: the points have another number of values.
            IndexDamagedError: a candidate is damaged.
            ValueError: the radius is negative or not a number.
        """
        check_radius(radius)
        current = self.index.points(points)
        if self.index.filter is None:
            return self.index.within(points, radius)
        finite = np.asarray(np.isfinite(current).all(axis=1))
        if len(current) != len(self._last):
            self._begin(current)
        self._move_to(current, finite)
        self._search_where_due(finite, self.index.filter, surface(radius))
        return self._compare(finite, self.index.filter, radius)

    def _begin(self, current: NDArray[np.float32]) -> None:
        """Forget all estimates."""
        count = len(current)
        self._last = self._anchor = np.zeros_like(current)
        # From the place of the last search: how far it went, and how far the estimate is.
        self._reach, self._away = np.full(count, -math.inf), np.zeros(count)
        self._list = Candidates(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
        # The length of an estimate's way so far, and of the way before which a listed reference cannot come inside.
        self._way, self._until = np.zeros(count), np.empty(0)

    def _move_to(self, current: NDArray[np.float32], finite: NDArray[np.bool_]) -> None:
        """Keep account of the way; an estimate that is not finite stays where it was."""
        current = np.where(finite[:, None], current, self._last)
        self._way += _lengths(current, self._last)
        self._away = _lengths(current, self._anchor)
        self._last = current

    def _search_where_due(self, finite: NDArray[np.bool_], index_filter: IndexFilter, radius: float) -> None:
        spare = self._reach - radius
        due = finite & ~(self._away < spare)
        if due.any():
            due = finite & ~(self._away < EAGER * spare)
        rows = np.flatnonzero(due)
        self.searched += len(rows)
        self.skipped += int(finite.sum()) - len(rows)
        if not len(rows):
            return
        queries = index_filter.project(self._last[rows])
        if len(index_filter) > self._listed:
            reach = np.maximum(index_filter.likely_reach(queries, self._listed), LEAST_SKIN * radius)
        else:
            reach = np.full(len(rows), math.inf)
        found = index_filter.coarse.scan(queries, reach)
        stay = ~due[self._list.rows]
        listed = Candidates(rows[found.rows], found.numbers, found.bounds)
        self._list = Candidates.joined([self._list.picked(stay), listed])
        self._until = np.concatenate([self._until[stay], np.full(len(found), -math.inf)])
        self._anchor = np.where(due[:, None], self._last, self._anchor)
        self._reach[rows], self._away[rows] = reach, 0.0

    def _compare(self, finite: NDArray[np.bool_], index_filter: IndexFilter, radius: float) -> Hits:
        """Measure what may be inside by now; what was not read yet must pass the fine bound first."""
        listed = self._list
        near = np.flatnonzero(listed.bounds < (self._away + surface(radius))[listed.rows])
        # Sums with a long way lose the digits of a small distance.
        reached = (self._way * (1 + 1e-15) + surface(radius))[listed.rows[near]]
        near = near[(self._until[near] < reached) & finite[listed.rows[near]]]
        unread = ~self._vectors.holds(listed.numbers[near])
        if unread.any():
            places = near[unread]
            rows = listed.rows[places]
            asked = np.flatnonzero(np.bincount(rows))
            queries = index_filter.project(self._last[asked])
            bounds = index_filter.fine_bounds(queries, np.searchsorted(asked, rows), listed.numbers[places])
            self._until[places] = bounds + self._way[rows]
            unread[unread] = bounds >= surface(radius)
            near = near[~unread]
        rows, numbers = listed.rows[near], listed.numbers[near]
        distances = measured(self._last, rows, numbers, self._vectors.vectors)
        self._until[near] = distances * (1 - ROUNDING) + self._way[rows]
        return Hits.among(rows, numbers, distances, radius, self._vectors.vectors)


def _lengths(points: NDArray[np.float32], others: NDArray[np.float32]) -> Floats:
    """What the distances of rows are at most, shape (B,)."""
    differences = points - others
    return np.sqrt(np.einsum("bd,bd->b", differences, differences, dtype=np.float64)) * (1 + ROUNDING)
