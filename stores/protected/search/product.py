"""One matrix product after the other tells which references may be near some queries.

Squared distances of coordinates are |z|^2 + |x|^2 - 2 x.z; with half of |z|^2 as one more column their comparison with
a limit is a comparison of products.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .bounds import (
    COARSE_ROUNDING,
    Floats,
    Integers,
    Projected,
    columns,
    conservative,
    outline,
)
from .leaves import LEAF_ROWS

SCAN_ROWS = 16_384
"""References that one matrix product compares: it stays in the processor's cache."""

PRODUCT_ROUNDING = 1e-5
"""Of both matrix products relative to half of both squared norms: float32 and a few dozen terms, with room."""

AT_ONCE = 8
"""Products of fewer columns take as long, and what eight comparisons say fits into one 64-bit number."""


class NearProduct:
    """Compares queries with references by some of their coordinates, and by some more where that leaves them near.

    Args:
        queries: as the filter sees them.
        limit: what computed distances stay below where distances are as asked for (``widened``), shape (B,).
        first: number of coordinates a.
        cut: number of coordinates c.
    """

    def __init__(self, queries: Projected, limit: Floats, first: int, cut: int) -> None:
        points = columns(queries.coordinates, first)
        self._norms = queries.norms
        self._halves = points[:, -1].astype(np.float64) * (1 - 2 * PRODUCT_ROUNDING)
        points[:, -1] = -(1 - PRODUCT_ROUNDING)
        least = np.maximum(self._halves - limit * limit / 2, np.finfo(np.float32).min)
        # No product reaches infinity: neither those of far queries nor those that only fill up.
        width = 1 if len(points) == 1 else -(-len(points) // AT_ONCE) * AT_ONCE
        least = np.pad(np.where(queries.near, least, np.inf), (0, width - len(points)), constant_values=np.inf)
        self._least = least.astype(np.float32)
        self._directions = np.zeros((first + 2, width), np.float32)
        self._directions[:, : len(points)] = points.T
        # What the first product has of the norm of all others, the second takes back.
        self._further = np.zeros((cut - first + 2, width), np.float32)
        self._further[:-1, : len(points)] = outline(queries.coordinates, cut)[:, first:].T
        self._further[-1] = -self._directions[-2]

    def near_any(self, references: NDArray[np.float32], spans: list[slice]) -> tuple[Integers, NDArray[np.float32]]:
        """The references, shape (n, a + 2), that may be inside for any query; n may be millions.

        Args:
            references: of which only some are looked at.
            spans: the places of these, at most ``SCAN_ROWS`` in each.

        Returns:
            Their places, shape (k,), and their products with all queries, shape (k, at least B).
        """
        # Kept for all chunks: fresh memory costs as much as the products. They are compared in long rows, in a fifth of
        # the time that rows as short as theirs take; what is behind a chunk's own is compared for nothing.
        width = len(self._least)
        least = np.tile(self._least, min(LEAF_ROWS, len(references)))
        room = -(-min(SCAN_ROWS, len(references)) * width // len(least))
        products, near = np.zeros((room, len(least)), np.float32), np.empty((room, len(least)), np.bool_)
        table, truths = products.reshape(-1, width), near.reshape(-1, width)
        words = truths if width == 1 else truths.view(np.uint64)
        found = [np.empty(0, np.int64)]
        kept = [table[:0]]
        for span in spans:
            chunk = references[span]
            count = len(chunk)
            lines = -(-count * width // len(least))
            np.matmul(chunk, self._directions, out=table[:count])
            np.greater_equal(products[:lines], least, out=near[:lines])
            # Few are near: of truth values the places are found ten times as fast as of other numbers.
            found.append(np.flatnonzero(words[:count].any(axis=1) if width > AT_ONCE else words[:count] != 0))
            kept.append(table.take(found[-1], axis=0))
            found[-1] += span.start
        return np.concatenate(found), np.concatenate(kept)

    def pairs(
        self, products: NDArray[np.float32], references: NDArray[np.float32]
    ) -> tuple[Integers, Integers, Floats]:
        """Pairs that may be inside: places of the references, rows of the queries, and their bounds.

        Args:
            products: from ``near_any``, shape (k, at least B).
            references: of the same ones the next coordinates, shape (k, c - a + 2).
        """
        finer = references @ self._further
        finer += products
        # Here, too, long rows are compared sooner, and division with a remainder takes longer than a product more.
        flat = np.flatnonzero(finer >= np.tile(self._least, (len(finer), 1)))
        places = flat // finer.shape[1]
        rows = flat - places * finer.shape[1]
        squares = 2 * (self._halves.take(rows) - finer.take(flat))
        return places, rows, conservative(np.sqrt(np.maximum(squares, 0.0)), self._norms.take(rows), COARSE_ROUNDING)
