"""Locate an evaluation in a run's schedule, also for samplers that evaluate off it or out of order."""

from __future__ import annotations

from dataclasses import dataclass

ROUNDING = 1e-4
"""Relative distance within which two noise levels are the same: rounding in half precision."""

CLEAN = 0.03
"""Highest noise level that counts as clean: 3 % noise in latents of unit variance. The last levels of the models' own
schedules are below it, such as Stable Diffusion's 0.029."""


@dataclass(frozen=True)
class Schedule:
    """The noise levels of one run.

    Attributes:
        levels: descending, at least two.
    """

    levels: tuple[float, ...]

    @property
    def ends_clean(self) -> bool:
        """Whether the run removes all visible noise."""
        return self.levels[-1] <= CLEAN

    def place(self, sigma: float) -> tuple[float, float]:
        """Find a noise level in the schedule.

        Args:
            sigma: noise level of an evaluation, on the schedule or between its levels.

        Returns:
            The next lower level of the schedule, or 0, and the progress: 0 at the first level, 1 at the last one with
            noise, linear in sigma between neighbours.
        """
        steps = len(self.levels) - 1
        below = next((at for at, level in enumerate(self.levels) if level < sigma * (1 - ROUNDING)), None)
        if below is None:
            return 0.0, 1.0
        if below == 0:
            return self.levels[0], 0.0
        above, under = self.levels[below - 1], self.levels[below]
        fraction = min(max((above - sigma) / (above - under), 0.0), 1.0)
        return under, min((below - 1 + fraction) / max(steps - 1, 1), 1.0)
