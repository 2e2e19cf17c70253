"""Lower bounds of distances from few numbers: an orthonormal projection and the norm of its residual.

For an orthonormal B and y = x - c the map t(y) = (B y, |y - B^T B y|) never lengthens a distance: the parts inside and
outside the span of B are orthogonal, and | |u| - |v| | <= |u - v| outside. So |t(y) - t(y')| <= |x - x'|, without false
dismissals. The bound is tight if B holds the principal directions (Karhunen-Loeve filters of similarity search; the
norm of the residual tightens it).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ROUNDING = 1e-5
"""Error of computed coordinates relative to |y|, mostly from the root of a difference of squares in float64."""

POWER_ITERATIONS = 4


@dataclass(frozen=True)
class Projection:
    """The map t to few coordinates.

    Attributes:
        centre: c, shape (D,), float64.
        basis: B, orthonormal rows, shape (m, D), float64, by falling variance.
    """

    centre: Array
    basis: Array

    def coordinates(self, points: NDArray[np.floating]) -> Array:
        """Map finite points (n, D) to coordinates (n, m + 1), with errors of at most ``ROUNDING`` times their norm."""
        offsets = points - self.centre
        squares = np.einsum("nd,nd->n", offsets, offsets)
        inside = offsets @ self.basis.T
        rest = np.sqrt(np.maximum(squares - np.einsum("nm,nm->n", inside, inside), 0.0))
        return np.column_stack([inside, rest])


def fit_projection(sample: NDArray[np.floating], dimensions: int) -> Projection:
    """The principal directions of a sample, by subspace iteration (arXiv 0909.4061, algorithm 4.4).

    Every orthonormal basis gives valid bounds, a good one tight bounds. The result is deterministic.

    Args:
        sample: shape (n, D), n at least 1, finite.
        dimensions: m, at least 1; at most D are used.
    """
    centre = sample.mean(0, dtype=np.float64)
    offsets = (sample - centre).astype(np.float32)
    # Scaled so that products neither overflow nor underflow.
    offsets /= max(float(np.abs(offsets).max(initial=0.0)), np.finfo(np.float32).tiny)
    width = offsets.shape[1]
    m = min(dimensions, width)
    start = np.random.default_rng(0).standard_normal((width, m))
    basis = np.linalg.qr(start)[0]
    for _ in range(POWER_ITERATIONS):
        image = offsets @ basis.astype(np.float32)
        basis = np.linalg.qr((offsets.T @ image).astype(np.float64))[0]
    inside = (offsets @ basis.astype(np.float32)).astype(np.float64)
    _, rotation = np.linalg.eigh(inside.T @ inside)
    return Projection(centre, np.ascontiguousarray((basis @ rotation[:, ::-1]).T))
