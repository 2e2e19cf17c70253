"""What a search of a Protected Index has covered for each estimate of a run, and when the next one is due.

A search goes out from a place, the anchor, as far as its reach. In the coarse coordinates that is a ball, and while an
estimate is so deep in it that the radius around it does not stick out, everything that may be inside the radius is
listed. Estimates keep their direction from step to step, so the anchor lies ahead of them: they cross the ball instead
of leaving it by the shortest way.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ....kernels.shields.projection_bounds import ROUNDING
from .bounds import (
    Floats,
    Integers,
    Projected,
    lengths,
    outline,
)
from .projection_filter import IndexFilter

AHEAD = 0.9
"""How far ahead the anchor lies, as a share of what an estimate may be away from it."""

EAGER = 0.3
"""When one estimate is due for a search, those that used up this share of theirs join: a search serves them all."""


class SearchGround:
    """The balls around the anchors of B estimates.

    Args:
        index_filter: the filter that is searched.
        count: number of estimates B.

    Attributes:
        at: the estimates as the filter sees them.
        moved: length of each one's last step at most, shape (B,).
        away: from its anchor, in the coarse coordinates, at most, shape (B,).
    """

    def __init__(self, index_filter: IndexFilter, count: int) -> None:
        self._cut = index_filter.coarse.cut
        # The first estimates come from anywhere, and nothing is covered.
        self.at = Projected(np.zeros((count, index_filter.dimensions)), np.zeros(count))
        self.moved, self.away = np.zeros(count), np.zeros(count)
        self._before = self.at
        self._anchor = Projected(np.zeros((count, self._cut + 1)), np.zeros(count))
        self._reach = np.full(count, -math.inf)
        self._leaving = np.ones(count, np.bool_)

    def spare(self, radius: float) -> Floats:
        """How far an estimate may be away from its anchor, shape (B,); infinitely negative before the first search."""
        return self._reach - radius

    def move_to(self, now: Projected) -> None:
        """Take the next step."""
        self.moved = _apart(self.at, now)
        away = _apart(self._anchor, self._outlined(now))
        # Of points beyond what float32 computes the coordinates are not known.
        away[~(now.near & self._anchor.near)] = math.inf
        self._leaving, self.away = away > self.away, away
        self._before, self.at = self.at, now

    def due(self, among: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
        """For which ones of some estimates, shape (B,), a search has to be made, or should be when one is made."""
        spare = self.spare(radius)
        due = among & ~(self.away < spare)
        if due.any():
            due |= among & self._leaving & ~(self.away < EAGER * spare)
        return due

    def ahead(self, rows: Integers, radius: float, reach: float) -> Projected:
        """Where a search for these estimates, shape (K,), had best start, so that ``reach`` still covers them."""
        here = self.at.picked(rows)
        step = here.coordinates - self._before.coordinates[rows]
        far, way = AHEAD * (reach - radius), lengths(step)
        told = np.isfinite(self._reach[rows]) & math.isfinite(far) & (way > 0)
        coordinates = here.coordinates + np.divide(far, way, out=np.zeros_like(way), where=told)[:, None] * step
        return Projected(coordinates, np.where(told, lengths(coordinates), here.norms))

    def cover(self, rows: Integers, anchor: Projected, reach: float) -> None:
        """Remember a search for these estimates."""
        outlined = self._outlined(anchor)
        self._anchor.coordinates[rows], self._anchor.norms[rows] = outlined.coordinates, outlined.norms
        self._reach[rows] = reach
        self.away[rows] = _apart(outlined, self._outlined(self.at.picked(rows)))

    def _outlined(self, points: Projected) -> Projected:
        return Projected(outline(points.coordinates, self._cut), points.norms)


def _apart(some: Projected, others: Projected) -> Floats:
    """How far points are from others at most, shape (B,)."""
    return lengths(some.coordinates - others.coordinates) + ROUNDING * (some.norms + others.norms)
