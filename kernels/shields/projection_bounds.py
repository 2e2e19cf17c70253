"""Lower bounds of distances from few numbers: an orthonormal projection, and the norm of what it drops.

For an orthonormal B and y = x - c the map t(y) = (B y, |y - B^T B y|) never lengthens a distance: the parts inside and
outside B's rows are orthogonal, and | |u| - |v| | <= |u - v| outside. So |t(y) - t(y')| <= |x - x'|, with no false
dismissal, and the fewer numbers keep most of the distance where B holds the principal directions (Karhunen-Loeve
filters of similarity search; the norm of the remainder as one more number is what makes the bound tight).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ROUNDING = 1e-5
"""Error of computed coordinates relative to |y|: the root of a difference of squares in float64 is the worst of it."""

POWER_ITERATIONS = 4


@dataclass(frozen=True)
class Projection:
    """A map to few coordinates that never lengthens a distance.

    Attributes:
        centre: c, shape (D,), float64.
        basis: B, orthonormal rows, shape (m, D), float64, by falling variance.
    """

    centre: Array
    basis: Array

    def coordinates(self, points: NDArray[np.floating]) -> Array:
        """Map points (n, D), finite, to coordinates (n, m + 1); they err by at most ``ROUNDING`` times their norm."""
        offsets = points - self.centre
        squares = np.einsum("nd,nd->n", offsets, offsets)
        inside = offsets @ self.basis.T
        rest = np.sqrt(np.maximum(squares - np.einsum("nm,nm->n", inside, inside), 0.0))
        return np.column_stack([inside, rest])


def fit_projection(sample: NDArray[np.floating], dimensions: int) -> Projection:
    """The principal directions of a sample, by subspace iteration (arXiv 0909.4061, algorithm 4.4).

    Every orthonormal basis gives valid bounds; a good one gives tight ones. The same sample gives the same basis.

    Args:
        sample: shape (n, D), n at least 1, finite.
        dimensions: m, at least 1; at most D are used.
    """
    centre = sample.mean(0, dtype=np.float64)
    offsets = (sample - centre).astype(np.float32)
    # Neither huge nor tiny numbers may overflow or vanish in products.
    offsets /= max(float(np.abs(offsets).max(initial=0.0)), np.finfo(np.float32).tiny)
    width = offsets.shape[1]
    m = min(dimensions, width)
    start = np.random.default_rng(0).standard_normal((width, m))
    basis = np.linalg.qr(start)[0]
    for _ in range(POWER_ITERATIONS):
        image = offsets @ basis.astype(np.float32)
        basis = np.linalg.qr((offsets.T @ image).astype(np.float64))[0]
    inside = (offsets @ basis.astype(np.float32)).astype(np.float64)
    _, turn = np.linalg.eigh(inside.T @ inside)
    return Projection(centre, np.ascontiguousarray((basis @ turn[:, ::-1]).T))
