"""When a method acts, and how hard at most: an interval of noise levels and a norm clip, the same for all methods."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SigmaInterval:
    """Noise levels between which a method acts.

    The one rule of all methods, and of the host's own nodes: an evaluation whose noise level lies inside is guided in
    full, wherever its step leads, and every other not at all. A function of sigma alone, so that samplers which
    evaluate the model several times a step, between the levels of the schedule or out of order are guided alike.

    Attributes:
        high: the method starts when sigma has fallen to this level; infinity for the first step on.
        low: it stops below this level; 0 for up to the last step.
    """

    high: float = math.inf
    low: float = 0.0

    def __post_init__(self) -> None:
        if math.isnan(self.high) or math.isnan(self.low) or self.low < 0:
            raise ValueError(f"An interval of noise levels must be two numbers of at least 0, not {self}.")

    def __contains__(self, sigma: float) -> bool:
        # Half precision schedules miss their own levels by a rounding.
        return self.low * (1 - 5e-4) <= sigma <= self.high * (1 + 5e-4)

    def why_missed(self, sigmas: Tensor) -> str:
        """Why no step of a run starts inside, as the end of a sentence; "" where one does.

        Args:
            sigmas: noise levels of the run, descending, shape (steps + 1,).
        """
        levels = sigmas[:-1].tolist()
        if not levels or any(level in self for level in levels):
            return ""
        if self.low > self.high:
            return "it ends before it starts: start_percent must be below end_percent"
        if levels[0] < self.low:
            return (
                f"this run begins at noise level {levels[0]:.3g}, and guidance ends above it, at {self.low:.3g}: raise "
                "end_percent or denoise"
            )
        if levels[-1] > self.high:
            return (
                f"this run takes its last step at noise level {levels[-1]:.3g}, and guidance starts below it, at "
                f"{self.high:.3g}: lower start_percent"
            )
        return "no step of this run lies between start_percent and end_percent: take more steps, or move the two apart"


@dataclass(frozen=True)
class NormClip:
    """Largest correction of an estimate, relative to two measures of the model.

    Attributes:
        update: share of the model's own update |denoised - noisy|; infinity for no bound.
        estimate: share of the estimate's norm |denoised|; infinity for no bound.
    """

    update: float = 1.0
    estimate: float = 1.0

    def __post_init__(self) -> None:
        if not (self.update > 0 and self.estimate > 0):
            raise ValueError(f"A norm clip must be above 0 (infinity switches it off), not {self}.")

    def apply(self, delta: Tensor, denoised: Tensor, noisy: Tensor) -> tuple[Tensor, Tensor]:
        """Shorten corrections beyond the clip.

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
        clipped = length > limit
        if not bool(clipped.any()):
            return delta, clipped
        return delta * torch.where(clipped, limit / length, 1.0)[:, None], clipped
