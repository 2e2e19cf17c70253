"""When a method acts: an interval of noise levels."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class SigmaInterval:
    """Noise levels between which a method acts.

    A function of sigma alone, so that samplers which evaluate the model several times a step, between the levels of
    the schedule or out of order are guided alike.

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

    def share(self, sigma: float, next_sigma: float) -> float:
        """Which part of the step from one noise level to the next lies inside: 0 where it starts outside.

        With few steps the last one that starts inside goes far beyond the end, perhaps all the way to the picture:
        what it does counts in full there, with no later evaluation to mend it.
        """
        if sigma not in self:
            return 0.0
        length = sigma - next_sigma
        return min(1.0, max(0.0, (sigma - self.low) / length)) if length > 0 else 1.0
