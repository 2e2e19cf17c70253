"""A Protected Index during one sampling run: the same answers in every step, mostly without a search.

A search goes farther than the radius and leaves a list for each estimate, with what the distances are at least; as in
the neighbour lists of molecular dynamics (Verlet 1967) nothing else can come inside before the estimate has left the
ground that the search covered (``search_ground``), and of the list only what may have come near by now is compared
again.

What the filter says of distances are distances of points of few coordinates. So they change by no more than these
points move, and estimates move less there than they do in full: the details that come in last are elsewhere.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ....kernels.shields.field import check_radius
from ..hits import Hits, measured, surface
from ..index import ProtectedIndex
from .bounds import (
    Candidates,
    Floats,
    Integers,
    Projected,
    lengths,
)
from .covered_region import SearchGround
from .projection_filter import IndexFilter
from .row_cache import CACHE_BYTES, RowCache

LISTED, LISTED_SHARE = 256, 0.003
"""About so many references are listed for an estimate, and at least this share of all: more save searches."""

LEAST_SKIN = 1.1
"""Searches go at least so much farther than the radius, however many references there are."""

ROUNDING = 1e-6
"""Relative error of distances whose differences are float32, with room."""

SUMMING = 1e-15
"""Relative error of the sum of a way, with room: a long one loses the digits of a small distance."""


class Watch:
    """Asks an index in every step of one run; estimates keep their rows.

    Args:
        index: the index.
        listed: about how many references are listed for each estimate.
        cache: bytes of vectors that are kept in memory, and of coordinates.

    Attributes:
        searched: estimates for which the index was searched, over all steps.
        skipped: estimates for which that was not needed.
    """

    def __init__(self, index: ProtectedIndex, *, listed: int = LISTED, cache: int = CACHE_BYTES) -> None:
        self.index = index
        self.searched = 0
        self.skipped = 0
        self._listed = max(listed, round(LISTED_SHARE * len(index)))
        self._vectors = RowCache(index.read, len(index), index.manifest.width, cache)
        if index.filter is not None:
            self._coordinates = RowCache(index.filter.coordinates, len(index), index.filter.dimensions, cache)
            self._begin(index.filter, np.empty((0, index.manifest.width), np.float32))

    @property
    def candidates_read(self) -> int:
        """References whose vectors were read from disk."""
        return self._vectors.fetched

    def margin(self, row: int) -> float:
        """What the distance of an estimate, as given last, to its nearest reference is at least."""
        mine = self._list.rows == row
        least = np.maximum.reduce(
            [
                self._list.bounds[mine] - self._ground.away[row],
                self._bounded[mine] - self._projected_way[row],
                self._measured[mine] - self._way[row],
            ]
        )
        covered = float((self._ground.spare(0.0) - self._ground.away)[row])
        return max(min(covered, float(least.min(initial=math.inf))), 0.0)

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
            self._begin(self.index.filter, current)
        # A copy in any case: a sampler may change its estimate in place, and that must count as having moved.
        self._move_to(np.where(finite[:, None], current, self._last), self.index.filter)
        self._search_where_due(finite, self.index.filter, surface(radius))
        return self._compare(finite, self.index.filter, radius)

    def _begin(self, index_filter: IndexFilter, current: NDArray[np.float32]) -> None:
        """Forget all estimates."""
        count = len(current)
        # An estimate that is not finite stays where it was; the first ones come from anywhere.
        self._last = np.zeros_like(current)
        self._ground = SearchGround(index_filter, count)
        self._list = Candidates.none()
        # The length of an estimate's way so far, in full and in all coordinates, and of the ways before which a listed
        # reference cannot come inside: as it was measured, and by its coordinates.
        self._way, self._projected_way = np.zeros(count), np.zeros(count)
        self._measured, self._bounded = np.empty(0), np.empty(0)

    def _move_to(self, current: NDArray[np.float32], index_filter: IndexFilter) -> None:
        """Keep account of the ways."""
        self._ground.move_to(index_filter.project(current))
        self._way += lengths(current - self._last) * (1 + ROUNDING)
        self._projected_way += self._ground.moved
        self._last = current

    def _search_where_due(self, finite: NDArray[np.bool_], index_filter: IndexFilter, radius: float) -> None:
        due = self._ground.due(finite, radius)
        rows = np.flatnonzero(due)
        self.searched += len(rows)
        self.skipped += int(finite.sum()) - len(rows)
        if not len(rows):
            return
        reach = self._enough(self._ground.at.picked(rows), index_filter, radius)
        anchor = self._ground.ahead(rows, radius, reach)
        reach = max(reach, self._enough(anchor, index_filter, radius))
        found = index_filter.coarse.scan(anchor, np.full(len(rows), reach))
        self._ground.cover(rows, anchor, reach)
        stay = ~due[self._list.rows]
        listed = Candidates(rows[found.rows], found.numbers, found.bounds)
        self._list = Candidates.joined([self._list.picked(stay), listed])
        unknown = np.full(len(found), -math.inf)
        self._measured = np.concatenate([self._measured[stay], unknown])
        self._bounded = np.concatenate([self._bounded[stay], unknown])

    def _enough(self, places: Projected, index_filter: IndexFilter, radius: float) -> float:
        """How far searches from some places go: equally far, since one that leaves its ground calls for most."""
        if len(index_filter) <= self._listed:
            return math.inf
        return max(index_filter.likely_reach(places, self._listed * len(places.norms)), LEAST_SKIN * radius)

    def _compare(self, finite: NDArray[np.bool_], index_filter: IndexFilter, radius: float) -> Hits:
        """Bound the distances of what may be inside by now, and measure what still may."""
        inside = surface(radius)
        near, rows = self._near(finite, inside)
        numbers = self._list.numbers.take(near)
        may = np.flatnonzero(self._least(index_filter, near, rows, numbers) < inside)
        near, rows, numbers = near.take(may), rows.take(may), numbers.take(may)
        distances = measured(self._last, rows, numbers, self._vectors.rows)
        self._measured[near] = distances * (1 - ROUNDING) + self._way.take(rows)
        return Hits.among(rows, numbers, distances, radius, self._vectors.rows)

    def _near(self, finite: NDArray[np.bool_], inside: float) -> tuple[Integers, Integers]:
        """Places in the list of what may be inside by all that is known so far, and whose they are."""
        reached = np.where(finite, self._ground.away + inside, -math.inf)
        near = np.flatnonzero(self._list.bounds < reached.take(self._list.rows))
        rows = self._list.rows.take(near)
        for least, way in ((self._bounded, self._projected_way), (self._measured, self._way)):
            may = np.flatnonzero(least.take(near) < (way * (1 + SUMMING) + inside).take(rows))
            near, rows = near.take(may), rows.take(may)
        return near, rows

    def _least(self, index_filter: IndexFilter, near: Integers, rows: Integers, numbers: Integers) -> Floats:
        """Learn what distances of listed pairs are at least: by vectors where these are at hand, or by coordinates."""
        bounds = np.empty(len(near))
        kept = self._vectors.kept(numbers)
        some = np.flatnonzero(kept)
        if len(some):
            whose = rows.take(some)
            bounds[some] = least = self._vectors.least(self._last, whose, numbers.take(some))
            self._measured[near.take(some)] = least + self._way.take(whose)
        some = np.flatnonzero(~kept)
        whose = rows.take(some)
        coordinates = self._coordinates.rows(numbers.take(some))
        bounds[some] = least = index_filter.bounds(self._ground.at, whose, coordinates)
        self._bounded[near.take(some)] = least + self._projected_way.take(whose)
        return bounds
