"""Safety: no correction may be large beside what the model itself does, so that no unknown model is blown up."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Cap:
    """Largest correction of an estimate, relative to two measures of the model.

    Attributes:
        update: share of the model's own update |denoised - noisy|; infinity for no bound.
        estimate: share of the estimate's norm |denoised|; infinity for no bound.
    """

    update: float = 1.0
    estimate: float = 1.0

    def __post_init__(self) -> None:
        if not (self.update > 0 and self.estimate > 0):
            raise ValueError(f"A cap must be above 0 (infinity switches it off), not {self}.")

    def apply(self, delta: Tensor, denoised: Tensor, noisy: Tensor) -> tuple[Tensor, Tensor]:
        """Shorten corrections beyond the cap.

        Args:
            delta: corrections, shape (B, D).
            denoised: estimates, shape (B, D).
            noisy: samples from which they were made, shape (B, D).

        Returns:
            The corrections, and which of them were shortened, shape (B,).
        """
        length = delta.norm(dim=1)
        limit = torch.full_like(length, math.inf)
        if math.isfinite(self.update):
            limit = torch.minimum(limit, self.update * (denoised - noisy).norm(dim=1))
        if math.isfinite(self.estimate):
            limit = torch.minimum(limit, self.estimate * denoised.norm(dim=1))
        capped = length > limit
        if not bool(capped.any()):
            return delta, capped
        return delta * torch.where(capped, limit / length, 1.0)[:, None], capped
