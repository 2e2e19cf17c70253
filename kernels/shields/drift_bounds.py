"""Lower bounds of distances from those of an earlier step: what was far is still far, less how far an estimate moved.

By the triangle inequality |x' - z| >= |x - z| - |x' - x|, as in Elkan's k-means (ICML 2003) and Verlet's lists of
neighbours. The references of which this leaves a distance above the radius need no look. Among white noise, where no
few coordinates tell anything, the first step reads all references and the further ones next to none.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..precision import product_rounding
from .distance_bounds import DistanceBounds, apart
from .field import lengths

MAX_CHOSEN = 0.25
"""If more than this fraction of the references may be near, all are looked at, in order and without copies."""


class DriftBounds:
    """What is known of the distances of a run's estimates to its references.

    Args:
        count: of the references that stay; those behind them may change from step to step.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._anchors, self._lower = torch.empty(0, 0), torch.empty(0, 0)
        self._anew = False

    def near(self, bounds: DistanceBounds, points: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
        """The references that may be within a radius of a point, as ``DistanceBounds.near``."""
        if not self._count:
            return bounds.near(points, radius)
        lower = self._after_moving(points)
        if lower is not None:
            numbers, others = apart(lower, radius)
            if len(numbers) <= MAX_CHOSEN * self._count:
                behind = torch.arange(self._count, len(bounds.norms), device=points.device)
                candidates = torch.cat([numbers, behind])
                kept, further = apart(bounds.lower(points, candidates), radius)
                self._anew = False
                return candidates[kept], torch.minimum(others, further)
        every = bounds.lower(points)
        self._anchors, self._lower, self._anew = points.clone(), every[:, : self._count].clone(), True
        return apart(every, radius)

    def note(self, numbers: Tensor | None, distances: Tensor, scale: Tensor) -> None:
        """Take the distances (B, M) of the last points to references; None for all.

        ``scale`` is |x|^2 + |z|^2, (B, M): products have an error relative to it.
        """
        if not self._anew:
            return
        slack = product_rounding(max(self._anchors.shape[1], 1)) * scale
        least = (distances.square() - slack).clamp_min(0).sqrt()
        numbers = torch.arange(self._count, device=distances.device) if numbers is None else numbers
        staying = numbers < self._count
        self._lower[:, numbers[staying]] = least[:, : len(numbers)][:, staying]

    def _after_moving(self, points: Tensor) -> Tensor | None:
        """Lower bounds of the distances of points (B, D), (B, N); None if nothing is known of them."""
        if points.shape != self._anchors.shape or points.device != self._anchors.device:
            return None
        moved = lengths(points - self._anchors) * (1 + product_rounding(max(points.shape[1], 1)))
        return self._lower - moved[:, None] if bool(moved.isfinite().all()) else None
