"""An order of the references of a Protected Index in which neighbours stand together, so that a search passes over
thousands of them at once: the leaves of a k-d tree (Bentley 1975), each within a box.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .bounds import Floats, Integers

LEAF_ROWS = 2048
"""References of every leaf but the last. A box takes as long to compare as two references, and smaller leaves make
shorter matrix products."""


def leaf_order(points: NDArray[np.float32]) -> Integers:
    """Places of points (n, d) in the order of the leaves: halves, again and again, along what varies most in them."""
    order = np.arange(len(points))
    parts = [slice(0, len(points))]
    while parts:
        part = parts.pop()
        leaves = -(-(part.stop - part.start) // LEAF_ROWS)
        if leaves > 1:
            inside = points[order[part]]
            half = leaves // 2 * LEAF_ROWS
            order[part] = order[part][np.argpartition(inside[:, inside.var(axis=0).argmax()], half)]
            parts += [slice(part.start, part.start + half), slice(part.start + half, part.stop)]
    return order


@dataclass(frozen=True)
class Leaves:
    """Boxes around points that stand in this order.

    Attributes:
        middles: of L boxes, shape (L, d), float64.
        halves: of their widths, likewise.
        count: number of the points.
    """

    middles: Floats
    halves: Floats
    count: int

    @classmethod
    def of(cls, points: NDArray[np.float32]) -> Leaves:
        """The boxes of points (n, d)."""
        starts = np.arange(0, len(points), LEAF_ROWS)
        least = np.minimum.reduceat(points, starts).astype(np.float64)
        most = np.maximum.reduceat(points, starts).astype(np.float64)
        return cls((least + most) / 2, (most - least) / 2, len(points))

    def spans(self, queries: Floats, within: Floats, rows: int) -> list[slice]:
        """Places, at most so many ``rows`` at once, outside of which no point is closer than ``within``, shape (B,)."""
        gaps = np.abs(self.middles - queries[:, None])
        gaps -= self.halves
        np.maximum(gaps, 0, out=gaps)
        reached = (np.sqrt(np.einsum("bld,bld->bl", gaps, gaps)) < within[:, None]).any(axis=0)
        edges = np.flatnonzero(np.diff(reached, prepend=False, append=False)) * LEAF_ROWS
        return [
            slice(start, min(start + rows, end))
            for first, end in zip(edges[::2].tolist(), np.minimum(edges[1::2], self.count).tolist(), strict=True)
            for start in range(first, end, rows)
        ]
