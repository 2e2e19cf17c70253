"""The dial ``target``: which images count, which are moved for it, and what is told."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from diversity_guidance.benchmarks.pareto.run import count_different
from diversity_guidance.guidance.base import Chain, SamplingRun
from diversity_guidance.guidance.limits import SigmaInterval
from diversity_guidance.guidance.prompt_easing import EasingSettings, PromptEasing
from diversity_guidance.guidance.references import ImageReferences, References
from diversity_guidance.guidance.repellency.guidance import RepellencySettings, SparseRepellency
from diversity_guidance.guidance.repellency.shields import Radii, Shields
from diversity_guidance.guidance.repellency.target import CLEARLY, HOLD, counted, movers, push
from diversity_guidance.guidance.trace import MAX_HEADLINE
from diversity_guidance.kernels.scale import typical_distance
from torch import Tensor

from .conftest import SHAPE, Driver, noise

AIMED = RepellencySettings(target=3)


def started(driver: Driver, settings: RepellencySettings, *sources: ImageReferences) -> SparseRepellency:
    guidance = SparseRepellency(settings, sources)
    driver.begin(guidance)
    return guidance


def alike(copies: int, others: int, shape: tuple[int, ...] = SHAPE) -> Tensor:
    """Near copies of one image, then images that are like nothing else."""
    return torch.cat([noise(0, 1, shape) + 0.01 * noise(1, copies, shape), noise(2, others, shape)])


def moved(
    guidance: SparseRepellency, denoised: Tensor, driver: Driver, progress: float = 0.0, **step: Any
) -> list[int]:
    """Which images an evaluation moves."""
    told = replace(driver.step(denoised, **step), progress=progress)
    result = guidance(denoised, told)
    assert result.dtype == denoised.dtype
    return (result != denoised).flatten(1).any(1).nonzero().flatten().tolist()


def test_only_what_is_missing_is_moved_and_what_counts_stays(driver: Driver) -> None:
    denoised = alike(8, 1)
    driver = replace(driver, batch=9)
    # Images 0 and 8 differ already.
    assert moved(started(driver, replace(AIMED, target=2)), denoised, driver) == []
    assert len(moved(started(driver, replace(AIMED, target=3)), denoised, driver)) == 3
    assert len(moved(started(driver, replace(AIMED, target=3)), denoised, driver, progress=1.0)) == 1
    assert moved(started(driver, replace(AIMED, target=9)), denoised, driver) == [1, 2, 3, 4, 5, 6, 7]


def test_what_counts_barely_is_held_while_none_is_to_spare(driver: Driver) -> None:
    """Two images a little further apart than they must be, and a third far from both."""
    first, third = noise(0, 1), noise(2, 1)
    apart = 0.3 * typical_distance(first) / float(noise(1, 1).norm())
    denoised = torch.cat([first, first + apart * noise(1, 1), third])
    guidance = started(driver, AIMED)
    assert moved(guidance, denoised, driver, progress=1.0) == [0, 1]
    # Both move by half of what is missing.
    held = guidance(denoised, replace(driver.step(denoised), progress=1.0))
    assert float((held[0] - held[1]).norm()) == pytest.approx(HOLD * CLEARLY * typical_distance(denoised), rel=1e-4)
    assert moved(started(driver, replace(AIMED, target=2)), denoised, driver, progress=1.0) == []


def on_a_line(*places: float) -> Shields:
    """Points with shields of radius 1 around one another, and no references."""
    count = len(places)
    points = torch.tensor(places)[:, None] * torch.tensor([[1.0, 0.0]])
    nothing = References((), (), lambda chunk: chunk, torch.empty(0), 0.0)
    return Shields(points, Radii(torch.ones(count), torch.ones(count, count)), nothing)


def test_an_image_beside_one_that_does_not_count_counts() -> None:
    assert counted(on_a_line(0.0, 0.75, 1.5)).tolist() == [True, False, True]


def test_the_nearest_to_counting_is_moved_first_and_all_the_way() -> None:
    """Images that do not count are no measure of it."""
    shields = on_a_line(0.0, 0.5, 0.75)
    counts = torch.tensor([True, False, False])
    chosen = movers(shields, counts, 1)
    assert chosen.tolist() == [False, False, True]
    torch.testing.assert_close(push(shields, chosen, counts), torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.25, 0.0]]))


def test_nothing_is_pushed_where_no_step_follows(driver: Driver) -> None:
    """A push of the last estimate would be counted, and be no image of the model."""
    denoised = alike(3, 0)
    guidance = started(driver, AIMED)
    assert guidance(denoised, replace(driver.step(denoised), next_sigma=0.0)) is denoised
    assert guidance.need is not None and guidance.need.short


def test_nothing_missing_gives_the_very_same_tensor(driver: Driver) -> None:
    denoised = noise(0, 3)
    guidance = started(driver, AIMED)
    assert guidance(denoised, driver.step(denoised)) is denoised
    assert guidance.finish(denoised) is denoised
    assert guidance.trace.headline() == "3 of 3 images differ (target 3)"
    assert "3 differed in the first estimate" in guidance.trace.details()


@pytest.mark.parametrize("shape", [SHAPE, (4, 3, 8, 8)], ids=["images", "videos"])
@pytest.mark.parametrize("guided", [False, True], ids=["distilled", "CFG"])
def test_repeated_estimates_come_apart(driver: Driver, shape: tuple[int, ...], guided: bool) -> None:
    """An evaluation whose estimates are what the last one was turned into, until the end of the run."""
    driver = replace(driver, batch=4, shape=shape)
    latents = alike(4, 0, shape)
    guidance = started(driver, replace(AIMED, target=4))
    for sigma in (1.0, 0.5):
        conditional = latents.clone() if guided else None
        latents = guidance(latents, driver.step(latents, sigma, conditional=conditional))
    guidance.finish(latents)
    assert guidance.trace.headline() == "4 of 4 images differ (target 4)"
    assert "1 differed in the first estimate" in guidance.trace.details()


def test_more_missing_images_are_pushed_further(driver: Driver) -> None:
    denoised, lengths = alike(2, 3), []
    for target in (4, 5):
        guidance = started(replace(driver, batch=5), replace(AIMED, target=target))
        lengths.append(float((guidance(denoised, driver.step(denoised)) - denoised).norm()))
    assert lengths[0] == 0 < lengths[1]
    denoised, reach = alike(6, 0), []
    for target in (2, 6):
        guidance = started(replace(driver, batch=6), replace(AIMED, target=target))
        guidance(denoised, driver.step(denoised))
        reach.append(guidance.trace.steps[0].radius)
    assert reach[0] < reach[1]


def test_one_image_beside_a_bank(driver: Driver) -> None:
    driver, denoised = replace(driver, batch=1), noise(0, 1)
    near = started(driver, replace(AIMED, target=1), ImageReferences(denoised + 0.01 * noise(1, 1)))
    assert moved(near, denoised, driver) == [0]
    near.finish(denoised)
    assert near.trace.headline() == "0 of 1 images differ (target 1)"
    far = started(driver, replace(AIMED, target=1), ImageReferences(noise(1, 5)))
    assert far(denoised, driver.step(denoised)) is denoised
    far.finish(denoised)
    assert far.trace.headline() == "1 of 1 images differs (target 1)"


def test_the_bank_alone(driver: Driver) -> None:
    """Images that differ from the bank count, however alike they are."""
    denoised = alike(2, 1)
    settings = replace(AIMED, in_batch=False)
    assert moved(started(driver, settings, ImageReferences(noise(5, 4))), denoised, driver) == []
    assert moved(started(driver, settings, ImageReferences(denoised[2:])), denoised, driver) == [2]


def test_a_target_larger_than_the_batch(driver: Driver) -> None:
    denoised = noise(0, 3)
    guidance = started(driver, replace(AIMED, target=12))
    assert guidance(denoised, driver.step(denoised)) is denoised
    guidance.finish(denoised)
    assert guidance.trace.headline() == "3 of 3 images differ (target 3)"
    assert "The target is 12 and the batch has 3 images: it aims at 3." in guidance.trace.details()


def test_a_negative_target() -> None:
    with pytest.raises(ValueError, match="target must be a number of images from 0 on, not -1"):
        RepellencySettings(target=-1)


def test_nan_does_not_count_and_is_not_moved(driver: Driver) -> None:
    denoised = alike(3, 1)
    denoised[0, 0, 0, 0] = math.nan
    guidance = started(replace(driver, batch=4), replace(AIMED, target=4))
    result = guidance(denoised, driver.step(denoised))
    assert torch.equal(result[0], denoised[0]) or bool(result[0].isnan().any())
    assert torch.equal(result[3], denoised[3])
    assert bool(result[1:].isfinite().all()) and not torch.equal(result[2], denoised[2])
    guidance.finish(torch.full_like(denoised, math.nan))
    assert guidance.trace.reached == "0 of 4 images differ (target 4)"


def test_masks(driver: Driver) -> None:
    """What a mask holds neither counts nor moves, and what it lets change is compared there."""
    denoised, mask = alike(2, 1), torch.zeros(3, 1, *SHAPE[1:])
    mask[:2, :, :4] = 1
    guidance = started(driver, AIMED)
    result = guidance(denoised, driver.step(denoised, mask=mask))
    change = (result != denoised).flatten(1).any(1).tolist()
    assert change == [False, True, False]
    assert torch.equal(result[:, :, 4:], denoised[:, :, 4:])
    guidance.finish(denoised)
    assert guidance.trace.reached == "1 of 3 images differs (target 3)"


def test_an_evaluation_twice_does_the_same_twice(driver: Driver) -> None:
    """Samplers evaluate a step more than once: nothing grows with the number of evaluations."""
    denoised = alike(3, 0)
    guidance = started(driver, AIMED)
    first, second = (guidance(denoised, driver.step(denoised)) for _ in range(2))
    assert torch.equal(first, second)


def test_cfg_is_eased_for_what_moves_alone(driver: Driver) -> None:
    conditional = alike(2, 1)
    guided = conditional + noise(9, 3)
    settings = replace(AIMED, strength=1e-9, cfg_easing=1.0)
    assert moved(started(driver, settings), guided, driver, conditional=conditional) == [1]


@pytest.mark.parametrize("overlap", ["sum", "outside"])
def test_both_ways_out_of_shields(driver: Driver, overlap: str) -> None:
    settings = replace(AIMED, overlap=overlap)  # type: ignore[arg-type]
    assert moved(started(driver, settings), alike(2, 1), driver) == [1]


def test_outside_its_interval_it_says_why(driver: Driver) -> None:
    denoised = alike(2, 1)
    guidance = started(driver, replace(AIMED, interval=SigmaInterval(high=0.1)))
    assert guidance(denoised, driver.step(denoised)) is denoised
    guidance.finish(denoised)
    assert guidance.trace.headline().startswith("Did nothing: this run takes its last step")


@pytest.mark.parametrize("batch", [1, 16, 4096])
def test_the_verdict_fits_on_a_node(batch: int) -> None:
    assert len(f"{batch} of {batch} images differ (target {batch})") <= MAX_HEADLINE


def test_the_count_of_a_batch_is_that_of_the_node(driver: Driver) -> None:
    denoised = alike(3, 2)
    guidance = started(replace(driver, batch=5), AIMED)
    guidance.finish(denoised)
    assert guidance.trace.reached == "3 of 5 images differ (target 3)"
    assert count_different(denoised) == 3


class TestPromptEasing:
    """The prompt is left out only while too few images differ."""

    LEVELS = (1.0, 0.9, 0.8, 0.6, 0.3)

    def chain(self, target: int, batch: int = 3) -> tuple[Chain, PromptEasing, SparseRepellency]:
        guidance = SparseRepellency(replace(AIMED, target=target))
        easing = PromptEasing(EasingSettings(silent_above=0.6), need=guidance.need)
        chain = Chain([easing, guidance])
        sigmas = torch.tensor([*self.LEVELS, 0.0])
        chain.begin(SamplingRun(batch, SHAPE, sigmas, torch.device("cpu"), "SD3", 7))
        return chain, easing, guidance

    def test_without_need_the_prompt_stays(self, driver: Driver) -> None:
        chain, easing, _ = self.chain(2)
        denoised = noise(0, 3)
        for sigma in self.LEVELS:
            assert not chain.replaces_prompt(sigma)
            assert chain(denoised, driver.step(denoised, sigma)) is denoised
        chain.finish(denoised)
        assert easing.trace.eased == ""

    def test_it_is_left_out_from_the_second_step_on_and_comes_back_by_itself(self, driver: Driver) -> None:
        chain, easing, guidance = self.chain(3)
        denoised, empty = alike(3, 0), noise(7, 3)
        silent = []
        for sigma in self.LEVELS:
            silent.append(chain.replaces_prompt(sigma))
            step = replace(driver.step(denoised, sigma), unconditional=lambda: empty)
            result = chain(denoised, step)
            assert (result is empty) == silent[-1]
        assert silent == [False, True, True, False, False]
        assert guidance.trace.steps[1].active_share == 0
        chain.finish(denoised)
        assert easing.trace.eased == "Prompt eased in 2 of 5 steps"

    def test_the_only_silent_step_is_the_second(self, driver: Driver) -> None:
        chain, easing, _ = self.chain(3)
        easing.settings = easing.distilled = EasingSettings(silent_above=0.9)
        chain.begin(SamplingRun(3, SHAPE, torch.tensor([*self.LEVELS, 0.0]), torch.device("cpu"), "SD3", 7))
        denoised, empty, silent = alike(3, 0), noise(7, 3), []
        for sigma in self.LEVELS:
            silent.append(chain.replaces_prompt(sigma))
            chain(denoised, replace(driver.step(denoised, sigma), unconditional=lambda: empty))
        assert silent == [False, True, False, False, False]

    def test_the_next_run_begins_anew(self, driver: Driver) -> None:
        chain, _, _ = self.chain(3)
        denoised = alike(3, 0)
        chain(denoised, driver.step(denoised))
        assert chain.replaces_prompt(0.9)
        chain.begin(SamplingRun(3, SHAPE, torch.tensor([1.0, 0.9, 0.0]), torch.device("cpu"), "SD3", 7))
        assert not chain.replaces_prompt(1.0)

    def test_without_a_target_it_is_as_ever(self) -> None:
        assert SparseRepellency(RepellencySettings()).need is None
