"""The contract's own parts: chains, generators, norm clips, intervals."""

from __future__ import annotations

import math

import pytest
import torch
from diversity_guidance.guidance.base import (
    Chain,
    Guidance,
    SamplingRun,
    SamplingStep,
    identity,
)
from diversity_guidance.guidance.limits import NormClip, SigmaInterval
from diversity_guidance.guidance.trace import (
    Contact,
    SampleRecord,
    StepRecord,
    Trace,
    Violation,
)
from torch import Tensor

from .conftest import Driver, noise


class Shift(Guidance):
    """Multiplies, then adds, so that the order of two of them matters."""

    def __init__(self, name: str, factor: float, offset: float) -> None:
        self.name, self.factor, self.offset = name, factor, offset
        self._trace = Trace()

    def begin(self, run: SamplingRun) -> None:
        self._trace = Trace(notes=[f"{self.name} began with {run.batch_size}."])

    def __call__(self, denoised: Tensor, step: SamplingStep) -> Tensor:
        self._trace.steps.append(StepRecord(self.name, step.sigma, step.progress, 0.0, ()))
        return denoised * self.factor + self.offset

    def finish(self, samples: Tensor) -> Tensor:
        self._trace.finished = True
        return samples * self.factor + self.offset

    @property
    def trace(self) -> Trace:
        return self._trace


class TestChain:
    def test_later_links_see_what_earlier_ones_did(self, driver: Driver) -> None:
        chain = Chain([Shift("first", 2.0, 1.0), Shift("second", 3.0, 0.0)])
        driver.begin(chain)
        denoised = noise(0, 3)
        torch.testing.assert_close(chain(denoised, driver.step(denoised)), (2 * denoised + 1) * 3)
        assert not chain.trace.finished
        torch.testing.assert_close(chain.finish(denoised), (2 * denoised + 1) * 3)
        assert chain.trace.finished
        assert chain.trace.notes == ["first began with 3.", "second began with 3."]
        assert [step.method for step in chain.trace.steps] == ["first", "second"]

    def test_an_empty_chain_returns_the_same_tensor(self, driver: Driver) -> None:
        chain = Chain([])
        driver.begin(chain)
        denoised = noise(0, 3)
        assert chain(denoised, driver.step(denoised)) is denoised
        assert chain.finish(denoised) is denoised


class TestRun:
    def run(self, seed: int = 7) -> SamplingRun:
        return SamplingRun(2, (4, 8, 8), torch.tensor([1.0, 0.0]), torch.device("cpu"), "SD3", seed)

    def draw(self, seed: int, purpose: str) -> Tensor:
        return torch.randn(8, generator=self.run(seed).generator(purpose))

    def test_generators_depend_on_seed_and_purpose_alone(self) -> None:
        expected = self.draw(7, "noise")
        torch.manual_seed(1)
        state = torch.get_rng_state()
        assert torch.equal(self.draw(7, "noise"), expected)
        assert torch.equal(torch.get_rng_state(), state)
        assert not torch.equal(self.draw(8, "noise"), expected)
        assert not torch.equal(self.draw(7, "other"), expected)

    @pytest.mark.parametrize("seed", [0, 2**64 - 1, -1])
    def test_any_seed_of_a_host(self, seed: int) -> None:
        assert self.draw(seed, "noise").isfinite().all()

    def test_model_space_is_the_latents_own_by_default(self) -> None:
        latents = noise(0, 1)
        assert self.run().to_model_space(latents) is latents
        assert identity(latents) is latents


class TestCap:
    def test_both_measures_bound(self) -> None:
        delta = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
        denoised, noisy = torch.tensor([[2.0, 0.0]] * 3), torch.tensor([[2.0, 4.0]] * 3)
        shortened, clipped = NormClip(update=0.5, estimate=0.5).apply(delta, denoised, noisy)
        assert clipped.tolist() == [True, False, False]
        torch.testing.assert_close(shortened, torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]]))
        shortened, clipped = NormClip(update=0.5, estimate=math.inf).apply(delta, denoised, noisy)
        assert float(shortened[0].norm()) == pytest.approx(2.0)

    def test_infinity_switches_off_and_nothing_to_shorten_returns_the_same(self) -> None:
        delta = 1e6 * torch.ones(2, 3)
        for clip in (NormClip(math.inf, math.inf), NormClip(1e9, 1e9)):
            assert clip.apply(delta, torch.ones(2, 3), torch.zeros(2, 3))[0] is delta

    def test_a_model_that_does_not_move_is_not_moved(self) -> None:
        shortened, clipped = NormClip().apply(torch.ones(1, 3), torch.ones(1, 3), torch.ones(1, 3))
        assert not shortened.any() and clipped.all()

    def test_rows_that_are_not_finite_spoil_no_other(self) -> None:
        delta = torch.tensor([[math.nan, 0.0], [3.0, 4.0]])
        shortened, clipped = NormClip().apply(delta, torch.ones(2, 2), torch.zeros(2, 2))
        assert clipped.tolist() == [False, True]
        assert float(shortened[1].norm()) == pytest.approx(math.sqrt(2))

    @pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
    def test_numbers_that_are_none(self, value: float) -> None:
        for clip in ({"update": value}, {"estimate": value}):
            with pytest.raises(ValueError, match="above 0"):
                NormClip(**clip)


class TestInterval:
    def test_everything_by_default(self) -> None:
        assert all(sigma in SigmaInterval() for sigma in (0.0, 1.0, 14.6, 1e9))

    def test_ends_belong_to_it_up_to_a_rounding(self) -> None:
        interval = SigmaInterval(0.8, 0.2)
        assert all(sigma in interval for sigma in (0.8, 0.2, 0.5))
        assert float(torch.tensor(0.8)) in interval and float(torch.tensor(0.2).half()) in interval
        assert all(sigma not in interval for sigma in (0.801, 0.199, 0.0, math.inf))

    @pytest.mark.parametrize("ends", [(math.nan, 0.0), (1.0, math.nan), (1.0, -0.1)])
    def test_numbers_that_are_none(self, ends: tuple[float, float]) -> None:
        with pytest.raises(ValueError, match="two numbers of at least 0"):
            SigmaInterval(*ends)


class TestTrace:
    def test_summary_names_the_worst_violation(self) -> None:
        violations = [Violation(0, "near", 4.0, 5.0), Violation(2, "bank", 1.0, 5.0)]
        summary = Trace(violations=violations).summary()
        assert "2 shields are still violated, worst: image 2 at 1 from bank, wanted 5." in summary

    def test_contacts_are_told_once_at_their_smallest_distance(self) -> None:
        def step(distance: float) -> StepRecord:
            contacts = (Contact("a", distance), Contact("b", 3.0))
            return StepRecord("method", 1.0, 0.0, 5.0, (SampleRecord(0, 0.1, distance, contacts),))

        assert Trace(steps=[step(4.0), step(2.0)]).contacts_of(0) == [Contact("a", 2.0), Contact("b", 3.0)]
        assert Trace(steps=[step(4.0)]).contacts_of(1) == []

    def test_summary_of_a_run_in_which_nobody_came_close(self) -> None:
        record = StepRecord("method", 1.0, 0.0, 5.0, (SampleRecord(0, 0.0, 9.0),))
        assert "no estimate came inside a shield" in Trace(steps=[record]).summary()
        assert record.active_share == 0


class Listening(Guidance):
    """Adds a constant, and keeps the step that it was told."""

    def begin(self, run: SamplingRun) -> None:
        self.step: SamplingStep | None = None

    def __call__(self, denoised: Tensor, step: SamplingStep) -> Tensor:
        self.step = step
        return denoised + 1

    def finish(self, samples: Tensor) -> Tensor:
        return samples

    @property
    def trace(self) -> Trace:
        return Trace()


def test_a_chain_takes_no_push_for_classifier_free_guidance() -> None:
    first, second = Listening(), Listening()
    denoised, noisy = torch.zeros(2, 4), torch.ones(2, 4)
    chain = Chain([first, second])
    chain(denoised, SamplingStep(1.0, 0.5, 0.0, noisy, denoised))
    assert second.step is not None and torch.equal(second.step.conditional, denoised + 1)
    conditional = torch.full((2, 4), 3.0)
    chain(denoised, SamplingStep(1.0, 0.5, 0.0, noisy, conditional))
    assert torch.equal(second.step.conditional, conditional + 1)
