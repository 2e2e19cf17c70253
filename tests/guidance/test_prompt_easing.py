"""Prompt easing: how much the prompt counts in each step, what that costs, and when it is left alone."""

from __future__ import annotations

import pytest
import torch
from diversity_guidance.embedded.model import EmbeddedModel
from diversity_guidance.guidance.base import Chain, SamplingRun, SamplingStep
from diversity_guidance.guidance.limits import SigmaInterval
from diversity_guidance.guidance.prompt_easing import (
    WITHOUT_NEGATIVE,
    EasingSettings,
    PromptEasing,
    prompt_weights,
)
from diversity_guidance.guidance.vendi.guidance import VendiGuidance
from torch import Tensor

from .conftest import SHAPE, noise

LEVELS = [1.0, 0.9, 0.75, 0.5, 0.3]
EASED = EasingSettings(silent_above=0.75, eased_above=0.3)


class Counted:
    """An estimate without the prompt that counts how often it is asked for."""

    def __init__(self, value: Tensor | None) -> None:
        self.value, self.asked = value, 0

    def __call__(self) -> Tensor | None:
        self.asked += 1
        return self.value


def started(settings: EasingSettings, batch: int = 2, *, alone: bool = False) -> PromptEasing:
    easing = PromptEasing(settings, alone=alone)
    easing.begin(SamplingRun(batch, SHAPE, torch.tensor([*LEVELS, 0.0]), torch.device("cpu"), "SD3", 7))
    return easing


def step(sigma: float, denoised: Tensor, empty: Counted, conditional: Tensor | None = None) -> SamplingStep:
    return SamplingStep(
        sigma, 0.0, 0.0, denoised + 1, denoised if conditional is None else conditional, unconditional=empty
    )


def test_the_prompt_is_silent_then_comes_back_in_even_parts() -> None:
    weights = prompt_weights(torch.tensor([*LEVELS, 0.0], dtype=torch.float64), EASED)
    assert weights == pytest.approx({1.0: 0, 0.9: 0, 0.75: 1 / 3, 0.5: 2 / 3, 0.3: 1})


@pytest.mark.parametrize(("sigma", "weight"), [(1.0, 0.0), (0.9, 0.0), (0.8, 0.0), (0.75, 1 / 3), (0.6, 1 / 3)])
def test_the_estimate_is_moved_towards_the_one_without_the_prompt(sigma: float, weight: float) -> None:
    denoised, empty = noise(0, 2), noise(1, 2)
    eased = started(EASED)(denoised, step(sigma, denoised, Counted(empty)))
    assert torch.allclose(eased, empty + weight * (denoised - empty))


def test_the_prompt_counts_in_full_at_the_end() -> None:
    denoised, empty = noise(0, 2), Counted(noise(1, 2))
    assert started(EASED)(denoised, step(0.3, denoised, empty)) is denoised
    assert empty.asked == 0


def test_further_evaluations_stay_within_their_share() -> None:
    easing = started(EasingSettings(eased_above=0.0, extra=0.4))
    denoised, empty = noise(0, 2), Counted(noise(1, 2))
    for sigma in LEVELS:
        easing(denoised, step(sigma, denoised, empty))
    easing.finish(denoised)
    assert empty.asked == 2
    assert [record.sentence() for record in easing.trace.records] == [
        "Prompt eased in 2 of 5 steps (2 evaluated the model twice)."
    ]


def test_guided_runs_have_the_estimate_anyway() -> None:
    easing = started(EasingSettings(eased_above=0.0, extra=0.0))
    denoised, empty = noise(0, 2), Counted(noise(1, 2))
    moved = [easing(denoised, step(sigma, denoised, empty, noise(2, 2))) is not denoised for sigma in LEVELS]
    assert moved == [True] * 5
    easing.finish(denoised)
    assert [record.sentence() for record in easing.trace.records] == ["Prompt eased in 5 of 5 steps (at no cost)."]


def test_without_a_negative_prompt_it_says_so() -> None:
    easing = started(EASED)
    denoised = noise(0, 2)
    assert easing(denoised, step(1.0, denoised, Counted(None))) is denoised
    assert easing.trace.notes == [WITHOUT_NEGATIVE]


@pytest.mark.parametrize(("size", "told"), [(0.1, False), (1.4, False), (1.6, True)])
@pytest.mark.parametrize("guided", [False, True])
def test_a_model_that_does_not_know_the_negative_prompt_is_told(size: float, told: bool, guided: bool) -> None:
    easing = started(EasingSettings(silent_above=0.75))
    denoised = noise(0, 2)
    conditional = denoised + 0.1 if guided else denoised
    empty = Counted((conditional if guided else denoised) * size)
    for sigma in LEVELS:
        easing(denoised, step(sigma, denoised, empty, conditional))
    assert [f"{size:.1f} times as large" in note for note in easing.trace.notes] == [True] * told


def test_one_image_alone_is_left_as_it_is() -> None:
    denoised, empty = noise(0, 1), Counted(noise(1, 1))
    easing = started(EASED, 1)
    assert easing(denoised, step(1.0, denoised, empty)) is denoised
    assert not easing.replaces_prompt(1.0)
    beside_a_bank = started(EASED, 1, alone=True)
    assert beside_a_bank.replaces_prompt(1.0)
    assert beside_a_bank(denoised, step(1.0, denoised, empty)) is not denoised


def test_off_is_off() -> None:
    denoised, empty = noise(0, 2), Counted(noise(1, 2))
    easing = started(EasingSettings())
    assert all(easing(denoised, step(sigma, denoised, empty)) is denoised for sigma in LEVELS)
    assert empty.asked == 0 and not easing.replaces_prompt(1.0)


def test_outside_its_interval_the_prompt_counts_in_full() -> None:
    late = EasingSettings(silent_above=0.3, interval=SigmaInterval(high=0.8))
    weights = prompt_weights(torch.tensor([*LEVELS, 0.0], dtype=torch.float64), late)
    assert weights == pytest.approx({1.0: 1, 0.9: 1, 0.75: 0, 0.5: 0, 0.3: 1})


def test_runs_with_and_without_cfg_have_settings_of_their_own() -> None:
    easing = PromptEasing(EasingSettings(), EASED)
    easing.begin(SamplingRun(2, SHAPE, torch.tensor([*LEVELS, 0.0]), torch.device("cpu"), "SD3", 7))
    denoised, empty = noise(0, 2), Counted(noise(1, 2))
    assert easing(denoised, step(1.0, denoised, empty, noise(2, 2))) is denoised
    assert easing(denoised, step(1.0, denoised, empty)) is empty.value


@pytest.mark.parametrize("wrong", [{"silent_above": -1.0}, {"eased_above": float("nan")}, {"extra": 1.5}])
def test_numbers_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="easing"):
        EasingSettings(**wrong)


class Asked(torch.nn.Module):
    """A denoiser that notes whether it is asked for the prompt (True) or the empty one."""

    def __init__(self, model: EmbeddedModel) -> None:
        super().__init__()
        self.network, self.empty, self.asked = model.transformer, model.text.encode([""])[0][0], list[bool]()

    def forward(self, x: Tensor, tokens: Tensor, pooled: Tensor, times: Tensor, return_dict: bool = False) -> Tensor:
        self.asked.append(not torch.equal(tokens[0], self.empty))
        return self.network(x, tokens, pooled, times, return_dict=return_dict)


@pytest.mark.parametrize(
    ("cfg", "expected"),
    [(1.0, [False, True, False, True]), (3.0, [True, False, True, False, True, False])],
)
def test_silent_steps_cost_nothing_without_cfg(cfg: float, expected: list[bool]) -> None:
    model = EmbeddedModel.load()
    asked = Asked(model)
    easing = PromptEasing(EasingSettings(silent_above=0.8, eased_above=0.5))
    watched = EmbeddedModel(asked, model.text, model.autoencoder)
    watched.sample(["doctor"] * 2, 3, steps=3, cfg=cfg, guidance=Chain([easing, VendiGuidance()]))
    # Without CFG: the empty prompt alone, then both, then the prompt alone.
    assert asked.asked == expected
