"""The first line on a node: short enough for every rendering, and true."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
import torch
from diversity_guidance.guidance.activations.trace import ActivationTrace
from diversity_guidance.guidance.base import Chain, Guidance, SamplingRun, SamplingStep
from diversity_guidance.guidance.containment import Contained
from diversity_guidance.guidance.limits import SigmaInterval
from diversity_guidance.guidance.prompt_easing import EasingSettings, PromptEasing
from diversity_guidance.guidance.references import why_none
from diversity_guidance.guidance.repellency.protection_record import NearestHit, ProtectionRecord, SampleProtection
from diversity_guidance.guidance.trace import MAX_HEADLINE, SampleRecord, StepRecord, Trace, Violation
from torch import Tensor

from .conftest import Driver, noise


def steps(moved: list[int], batch: int, count: int, active: int, radius: float = 1.0) -> list[StepRecord]:
    """Records of ``count`` evaluations; in the first ``active`` of them these samples were moved."""
    return [
        StepRecord(
            "method",
            1.0,
            0.0,
            radius,
            tuple(SampleRecord(n, 0.1 if n in moved and step < active else 0.0, 1.0) for n in range(batch)),
        )
        for step in range(count)
    ]


def protection(inside: list[int], batch: int, still: list[int] | None = None) -> ProtectionRecord:
    hit = NearestHit("image", 0.5)
    images = tuple(
        SampleProtection(n, hit, hit, n not in inside, 0.0 if n in (still or []) else 1.0) for n in range(batch)
    )
    return ProtectionRecord(9, images, True, 1, 0)


FAR, LATE = torch.tensor([0.3, 0.1, 0.0]), torch.tensor([1.0, 0.9, 0.0])
CASES: list[tuple[Trace, str]] = [
    (Trace(steps=steps([0, 1, 2, 3, 4, 5], 8, 8, 5)), "Moved 6 of 8 images in 5 of 8 steps"),
    (Trace(steps=steps([1], 1000, 1000, 999)), "Moved 1 of 1000 images in 999 of 1000 steps"),
    (Trace(steps=steps([0], 8, 8, 5), records=[protection([2, 5], 8)]), "NOT outside: images 2 and 5"),
    (Trace(records=[protection([7], 8)]), "NOT outside: image 7"),
    (Trace(steps=steps([0], 2, 3, 3), records=[protection([1], 2, still=[1])]), "Moved 1 of 2 images in 3 of 3 steps"),
    (Trace(violations=[Violation(4, "batch:0", 1.0, 2.0), Violation(4, "x", 1.0, 2.0)]), "NOT outside: image 4"),
    (Trace(records=[protection(list(range(64)), 64)]), "NOT outside: 64 images"),
    (Trace(not_finite=[0, 3]), "NaN or infinity from the model: images 0 and 3"),
    (Trace(steps=steps([], 8, 8, 0)), "Did nothing: all images were far enough apart"),
    (Trace(steps=steps([], 8, 8, 0, radius=0.0)), "Did nothing: no image needed it"),
    (Trace(inactive=why_none(1, True, [])), "Did nothing: a batch of one has nothing to keep away from"),
    (Trace(inactive=why_none(4, False, [])), "Did nothing: no bank"),
    (Trace(inactive=why_none(1, True, ["left out"])), "Did nothing: no reference fits this run"),
    (Trace(inactive=SigmaInterval(0.2, 0.5).why_missed(FAR)), "Did nothing: it ends before it starts"),
    (Trace(inactive=SigmaInterval(1.0, 0.5).why_missed(FAR)), "Did nothing: this run begins at noise level 0.3"),
    (
        Trace(inactive=SigmaInterval(0.2, 0.0).why_missed(LATE)),
        "Did nothing: this run takes its last step at noise level 0.9",
    ),
    (Trace(notes=["Nothing was steered: the latents are packed."]), "Did nothing: see the reason below"),
    (Trace(failed=True, steps=steps([0], 2, 2, 1)), "Failed with an error, see below"),
    (ActivationTrace(steps=steps([0, 1], 2, 4, 3), evaluations=5), "Steered 2 images in 3 of 5 steps"),
    (ActivationTrace(), "Did nothing: see the reason below"),
]


@pytest.mark.parametrize(("trace", "verdict"), CASES, ids=[verdict for _, verdict in CASES])
def test_the_verdict(trace: Trace, verdict: str) -> None:
    assert trace.headline() == verdict
    assert len(verdict) <= MAX_HEADLINE
    assert trace.summary() in trace.details()


@pytest.mark.parametrize("batch", [1, 10, 100, 1000, 4096])
@pytest.mark.parametrize("name", ["inside", "violations", "nan", "moved"])
def test_no_batch_is_too_large_for_it(batch: int, name: str) -> None:
    everything = list(range(batch))
    traces: dict[str, Any] = {
        "inside": lambda: Trace(records=[protection(everything, batch)]),
        "violations": lambda: Trace(violations=[Violation(n, "x", 1.0, 2.0) for n in everything]),
        "nan": lambda: Trace(not_finite=everything),
        "moved": lambda: Trace(steps=steps(everything, batch, 3, 3)),
    }
    verdict = traces[name]().headline()
    assert len(verdict) <= MAX_HEADLINE and "\n" not in verdict


def test_what_is_not_outside_comes_before_all_else_of_several_methods() -> None:
    first, second = Trace(steps=steps([0], 4, 2, 2), seconds=1.0), Trace(failed=True, seconds=0.5, extra_evaluations=2)
    joined = Trace.concat([first, second, Trace(records=[protection([3], 4)])])
    assert joined.headline() == "NOT outside: image 3"
    assert joined.details().endswith("It took 1.5 s and 2 further evaluations of the model.")


class Slow(Guidance):
    """Takes its time."""

    def __init__(self) -> None:
        self._trace = Trace()

    @property
    def trace(self) -> Trace:
        return self._trace

    def begin(self, run: SamplingRun) -> None:
        self._trace = Trace()
        time.sleep(0.01)

    def __call__(self, denoised: Tensor, step: SamplingStep) -> Tensor:
        time.sleep(0.01)
        if not math.isfinite(step.sigma):
            raise RuntimeError("planted")
        return denoised

    def finish(self, samples: Tensor) -> Tensor:
        time.sleep(0.01)
        return samples


@pytest.mark.parametrize("eased", [False, True])
def test_time_and_errors_are_noted(driver: Driver, eased: bool) -> None:
    """Also of several methods that count as one, such as a preset with its easing of the prompt."""
    method = Chain([PromptEasing(EasingSettings()), Slow()]) if eased else Slow()
    guidance, denoised = Contained(method), noise(0, 3)
    driver.begin(guidance)
    guidance(denoised, driver.step(denoised))
    guidance.finish(denoised)
    assert 0.03 <= guidance.trace.seconds < 1.0
    assert not guidance.trace.failed
    guidance(denoised, driver.step(denoised, sigma=math.inf))
    assert guidance.trace.failed
    assert guidance.trace.headline() == "Failed with an error, see below"
    assert "RuntimeError: planted" in guidance.trace.summary()
    outer = Chain([guidance])
    outer.finish(torch.full_like(denoised, math.nan))
    assert guidance.trace.not_finite == [0, 1, 2]
