"""Prompt easing: in the first steps, which decide an image, the prompt has less weight.

Classifier-free guidance narrows a prompt to one image, and distillation builds this into the model, where no scale can
undo it. The estimate without the prompt still varies with the noise. So the first steps follow it, and the prompt
returns step by step, x0 = empty + weight (prompt - empty). At a weight of 1 / scale above CFG 1 this is
limited-interval guidance (arXiv 2404.07724); with weight 0 in the first step alone, "no prompt at first".
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise

from torch import Tensor

from .base import Guidance, Need, SamplingRun, SamplingStep
from .limits import SigmaInterval
from .schedule import ROUNDING
from .trace import Trace

WITHOUT_NEGATIVE = (
    "The prompt was not eased: this sampler has no negative prompt (use KSampler or CFGGuider, with any negative "
    "prompt)."
)

FAR = 1.5
"""Times the size of the estimate with the prompt from which the one without it is said to be unlike it."""


@dataclass(frozen=True)
class EasingSettings:
    """Settings of prompt easing.

    Attributes:
        silent_above: noise level; steps that end above it follow the estimate without the prompt. Infinity for none.
        eased_above: noise level; in the steps that end above it the prompt's weight returns linearly to 1.
        extra: largest fraction of a run's steps with a second evaluation of the model. Only runs without
            classifier-free guidance need it; silent steps are free, as the host evaluates the other prompt instead.
        interval: noise levels outside which the prompt has its full weight.
    """

    silent_above: float = math.inf
    eased_above: float = math.inf
    extra: float = 0.4
    interval: SigmaInterval = field(default_factory=SigmaInterval)

    def __post_init__(self) -> None:
        if not (self.silent_above >= 0 and self.eased_above >= 0):
            raise ValueError("The noise levels of prompt easing must be numbers of at least 0.")
        if not 0 <= self.extra <= 1:
            raise ValueError(f"Prompt easing's share of further evaluations must be in 0..1, not {self.extra}.")


@dataclass
class EasingRecord:
    """The steps of a run in which the prompt was eased.

    Attributes:
        total: number of steps of the run.
        eased: noise levels of the steps with an eased prompt.
        evaluated: number of further evaluations of the model.
    """

    total: int
    eased: set[float] = field(default_factory=set)
    evaluated: int = 0

    def headline(self) -> str:
        """For the first line on a node; "" if the prompt was never eased."""
        return f"Prompt eased in {len(self.eased)} of {self.total} steps" if self.eased else ""

    def sentence(self) -> str:
        """For a node, with the cost."""
        cost = f"{self.evaluated} evaluated the model twice" if self.evaluated else "at no cost"
        return f"{self.headline()} ({cost})."

    def not_outside(self) -> tuple[int, ...]:
        """Always empty, as easing compares nothing."""
        return ()


class PromptEasing(Guidance):
    """Reduces the weight of the prompt in the first steps.

    Args:
        settings: for runs with classifier-free guidance.
        distilled: for runs without it; None for the same.
        alone: whether it acts on a batch of one, as it should beside a Memory Bank.
        need: eases the prompt only while too few images differ; None for always.
    """

    name = "Prompt easing"

    def __init__(
        self,
        settings: EasingSettings,
        distilled: EasingSettings | None = None,
        alone: bool = False,
        need: Need | None = None,
    ) -> None:
        self.settings = settings
        self._asked = need
        self.distilled = distilled or settings
        self.alone = alone
        self._trace = Trace()
        self._guided: dict[float, float] = {}
        self._unguided: dict[float, float] = {}
        self._record = EasingRecord(0)
        self._silent_size: Tensor | None = None

    @property
    def trace(self) -> Trace:
        """What happened in the current or last run."""
        return self._trace

    def begin(self, run: SamplingRun) -> None:
        """Compute the prompt's weight in every step of the run."""
        self._trace, self._record, self._silent_size = Trace(), EasingRecord(len(run.sigmas) - 1), None
        if self._asked is not None:
            self._asked.short = self._asked.silent = False
        acts = run.batch_size > 1 or self.alone
        self._guided, self._unguided = (
            self._weights(run.sigmas, settings) if acts else {} for settings in (self.settings, self.distilled)
        )

    def _weights(self, sigmas: Tensor, settings: EasingSettings) -> dict[float, float]:
        """Weights of the settings; a need is known after the first step, so that a single silent step is the second."""
        weights = prompt_weights(sigmas, settings)
        levels = list(weights)
        if self._asked is not None and len(levels) > 2 and [at for at in levels if weights[at] == 0] == levels[:1]:
            weights[levels[1]] = 0.0
        return weights

    def replaces_prompt(self, sigma: float) -> bool:
        """Whether a run without classifier-free guidance follows the estimate without the prompt at a noise level."""
        return self._wanted and _weight(self._unguided, sigma) == 0

    def __call__(self, denoised: Tensor, step: SamplingStep) -> Tensor:
        """The estimate, shape (B, C, ...), with the prompt eased; the very same tensor at full weight."""
        free = step.conditional is not denoised
        weight = _weight(self._guided if free else self._unguided, step.sigma) if self._wanted else 1.0
        if self._asked is not None:
            self._asked.silent = False
        self._compare(step.conditional, weight)
        if weight == 1:
            return denoised
        record = self._record
        if weight > 0 and not free and record.evaluated >= math.floor(self.distilled.extra * record.total):
            return denoised
        empty = step.unconditional()
        if empty is None:
            if WITHOUT_NEGATIVE not in self._trace.notes:
                self._trace.notes.append(WITHOUT_NEGATIVE)
            return denoised
        if weight > 0 and not free:
            record.evaluated += 1
        if self._asked is not None:
            self._asked.silent = weight == 0
        record.eased.add(step.sigma)
        self._trace.records, self._trace.eased = [record], record.headline()
        self._trace.extra_evaluations = record.evaluated
        if weight == 0:
            self._silent_size = empty.float().norm()
            return empty
        return empty + weight * (denoised - empty)

    def _compare(self, prompted: Tensor, weight: float) -> None:
        """Note once, when the prompt is back, whether estimates without and with it differ too much in size."""
        if self._silent_size is None or weight == 0:
            return
        ratio, self._silent_size = float(self._silent_size / prompted.float().norm()), None
        if ratio > FAR:
            self._trace.notes.append(
                f"Without the prompt the model's estimate was {ratio:.1f} times as large as with it: it may not know "
                "this negative prompt. Choose the preset subtle, or another negative prompt."
            )

    @property
    def _wanted(self) -> bool:
        """Whether the prompt may be eased now."""
        return self._asked is None or self._asked.short

    def finish(self, samples: Tensor) -> Tensor:
        """Close the trace."""
        self._trace.finished = True
        return samples


def prompt_weights(sigmas: Tensor, settings: EasingSettings) -> dict[float, float]:
    """Weight of the prompt at each noise level of a schedule, shape (steps + 1,): 0, then linearly up to 1."""
    levels = sigmas.tolist()
    steps = [(level, end) for level, end in pairwise(levels) if level in settings.interval]
    silent = [level for level, end in steps if end >= settings.silent_above * (1 - ROUNDING)]
    eased = [level for level, end in steps if end >= settings.eased_above * (1 - ROUNDING) and level not in silent]
    weights = dict.fromkeys(levels[:-1], 1.0) | dict.fromkeys(silent, 0.0)
    return weights | {level: (place + 1) / (len(eased) + 1) for place, level in enumerate(eased)}


def _weight(weights: dict[float, float], sigma: float) -> float:
    """Weight at a noise level, on the schedule or between its levels."""
    above = [level for level in weights if level >= sigma * (1 - ROUNDING)]
    return weights[min(above)] if above else 1.0
