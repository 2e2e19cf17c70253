"""Prompt easing: an image is decided in its first steps, and in these the prompt counts less.

Classifier-free guidance narrows a prompt to one image, and distillation builds that into the model, where no scale can
undo it. The estimate without the prompt still differs from noise to noise. So the first steps follow it, and the
prompt comes back step by step, x0 = empty + weight (prompt - empty). At a weight of 1 / scale above CFG 1 this is
limited-interval guidance (arXiv 2404.07724); with weight 0 in the first step alone, "no prompt at first".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from ..kernels.shields.field import working_points
from .base import Guidance, SamplingRun, SamplingStep
from .schedule import ROUNDING
from .trace import SampleRecord, StepRecord, Trace

WITHOUT_NEGATIVE = (
    "The prompt was not eased: this sampler has no negative prompt (use KSampler or CFGGuider, with any negative)."
)


@dataclass(frozen=True)
class EasingSettings:
    """How the prompt is eased.

    Attributes:
        silent_above: noise level down to which the estimate is that without the prompt; infinity for no such step.
        eased_above: noise level down to which the prompt comes back in even parts, a part a step.
        extra: largest share of a run's steps in which the model is evaluated a second time for it. Only runs without
            classifier-free guidance pay; the silent steps are free, as the host evaluates one prompt for the other.
    """

    silent_above: float = math.inf
    eased_above: float = math.inf
    extra: float = 0.4

    def __post_init__(self) -> None:
        if not (self.silent_above >= 0 and self.eased_above >= 0):
            raise ValueError("The noise levels of prompt easing must be numbers of at least 0.")
        if not 0 <= self.extra <= 1:
            raise ValueError(f"Prompt easing's share of further evaluations must be in 0..1, not {self.extra}.")

    @property
    def is_off(self) -> bool:
        """Whether the prompt always counts in full."""
        return math.isinf(self.silent_above) and math.isinf(self.eased_above)


class PromptEasing(Guidance):
    """Lets the noise decide before the prompt does.

    Args:
        settings: when.
        alone: whether it acts on a batch of one, as beside a Memory Bank. Without, one image has nothing to differ
            from and is left as it is.
    """

    name = "Prompt easing"

    def __init__(self, settings: EasingSettings, alone: bool = False) -> None:
        self.settings = settings
        self.alone = alone
        self._trace = Trace()
        self._weights: dict[float, float] = {}
        self._evaluated = 0
        self._steps = 0

    @property
    def trace(self) -> Trace:
        """What happened in the current or last run."""
        return self._trace

    def begin(self, run: SamplingRun) -> None:
        """Weigh the prompt in every step of the run."""
        self._trace, self._weights, self._evaluated = Trace(), {}, 0
        levels = run.sigmas[:-1].tolist()
        self._steps = len(levels)
        if self.settings.is_off:
            self._trace.inactive = "its prompt easing is off"
        elif run.batch_size < 2 and not self.alone:
            self._trace.inactive = "a batch of one has nothing to differ from (wire a Memory Bank)"
        else:
            self._weights = prompt_weights(levels, self.settings)

    def replaces_prompt(self, sigma: float) -> bool:
        """Whether the estimate at this noise level is the one without the prompt."""
        return self._weight(sigma) == 0

    def __call__(self, denoised: Tensor, step: SamplingStep) -> Tensor:
        """The estimate, shape (B, C, ...), with the prompt eased; the very same tensor where it counts in full."""
        weight = self._weight(step.sigma)
        if weight == 1:
            return denoised
        free = step.conditional is not denoised
        if weight > 0 and not free and self._evaluated >= math.floor(self.settings.extra * self._steps):
            return denoised
        empty = step.unconditional()
        if empty is None:
            if WITHOUT_NEGATIVE not in self._trace.notes:
                self._trace.notes.append(WITHOUT_NEGATIVE)
            return denoised
        if weight > 0 and not free:
            self._evaluated += 1
        eased = empty if weight == 0 else empty + weight * (denoised - empty)
        self._record(denoised, eased, step)
        return eased

    def finish(self, samples: Tensor) -> Tensor:
        """Close the trace: what the easing cost."""
        self._trace.finished = True
        self._trace.extra_evaluations = self._evaluated
        if self._evaluated:
            self._trace.notes.append(f"{self._evaluated} of {self._steps} steps evaluated the model twice.")
        return samples

    def _weight(self, sigma: float) -> float:
        """Of the prompt at a noise level, on the schedule or between its levels."""
        above = [level for level in self._weights if level >= sigma * (1 - ROUNDING)]
        return self._weights[min(above)] if above else 1.0

    def _record(self, denoised: Tensor, eased: Tensor, step: SamplingStep) -> None:
        before = working_points(denoised)
        moved = (working_points(eased) - before).norm(dim=1) / before.norm(dim=1).clamp_min(1e-12)
        samples = tuple(SampleRecord(row, share, math.inf) for row, share in enumerate(moved.tolist()))
        self._trace.steps.append(StepRecord(self.name, step.sigma, step.progress, 0.0, samples))


def prompt_weights(levels: list[float], settings: EasingSettings) -> dict[float, float]:
    """Weight of the prompt at each noise level of a schedule, descending: 0, then in even parts up to 1."""
    silent = [level for level in levels if level >= settings.silent_above * (1 - ROUNDING)]
    eased = [level for level in levels if level >= settings.eased_above * (1 - ROUNDING) and level not in silent]
    weights = dict.fromkeys(silent, 0.0)
    weights |= {level: (place + 1) / (len(eased) + 1) for place, level in enumerate(eased)}
    return weights | {level: 1.0 for level in levels if level not in weights}
