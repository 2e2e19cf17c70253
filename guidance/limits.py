"""When a method acts and how far it may push: an interval of noise levels and a norm clip, the same for all methods."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SigmaInterval:
    """Noise levels at which a method acts.

    All methods, like the host's own nodes, guide an evaluation fully if its noise level is inside, and not at all
    otherwise. The rule depends on sigma alone, so that it holds for samplers that evaluate the model several times a
    step, between the levels of the schedule, or out of order.

    Attributes:
        high: the method starts when sigma has fallen to this level; infinity for the first step.
        low: the method stops below this level; 0 for the last step.
    """

    high: float = math.inf
    low: float = 0.0

    def __post_init__(self) -> None:
        if math.isnan(self.high) or math.isnan(self.low) or self.low < 0:
            raise ValueError(f"An interval of noise levels must be two numbers of at least 0, not {self}.")

    def __contains__(self, sigma: float) -> bool:
        # In half precision, schedules miss their own levels by rounding.
        return self.low * (1 - 5e-4) <= sigma <= self.high * (1 + 5e-4)

    def why_missed(self, sigmas: Tensor) -> str:
        """Why no step of a run starts inside, as the end of a sentence; "" if one does.

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
    """Largest norm of a correction, relative to two norms of the model's output.

    Attributes:
        update: limit as a multiple of the model's own update |denoised - noisy|; infinity for none.
        estimate: limit as a multiple of the estimate's norm |denoised|; infinity for none.
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
            noisy: the noisy samples, shape (B, D).

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
