"""Why a method does nothing in a run: each reason by its own sentence, for all methods."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from diversity_guidance.guidance.activations.guidance import FeatureGuidance
from diversity_guidance.guidance.activations.settings import FeatureSettings
from diversity_guidance.guidance.base import Chain, Guidance, SamplingRun, SamplingStep
from diversity_guidance.guidance.limits import SigmaInterval
from diversity_guidance.guidance.references import ImageReferences
from diversity_guidance.guidance.repellency.guidance import RepellencySettings, SparseRepellency
from diversity_guidance.guidance.schedule import Schedule
from diversity_guidance.guidance.vendi.guidance import VendiGuidance
from diversity_guidance.guidance.vendi.settings import VendiSettings
from torch import Tensor

from .conftest import SHAPE, noise

SIGMAS = (1.0, 0.7, 0.3, 0.0)


def sparse(interval: SigmaInterval) -> Guidance:
    return SparseRepellency(RepellencySettings(interval=interval))


def vendi(interval: SigmaInterval) -> Guidance:
    return VendiGuidance(VendiSettings(interval=interval))


def spread(interval: SigmaInterval) -> Guidance:
    return FeatureGuidance(FeatureSettings("spread", 1.0, interval), {"blocks.0": 1.0})


def summary(
    guidance: Guidance,
    *,
    batch: int = 2,
    sigmas: tuple[float, ...] = SIGMAS,
    value: float = 0.0,
    mask: Tensor | None = None,
) -> str:
    """Drive a run as hosts do, and tell what the node shows."""
    chain = Chain([guidance])
    chain.begin(SamplingRun(batch, SHAPE, torch.tensor(sigmas), torch.device("cpu"), "SD3", 7))
    schedule = Schedule(sigmas)
    x = noise(3, batch) + value
    for sigma in sigmas[:-1]:
        x = chain(x, SamplingStep(sigma, *schedule.place(sigma), x + 10, x, mask))
    chain.finish(x)
    return guidance.trace.summary()


@pytest.mark.parametrize("make", [sparse, vendi, spread])
@pytest.mark.parametrize(
    ("interval", "sigmas", "reason"),
    [
        (SigmaInterval(high=0.2, low=0.6), SIGMAS, "it ends before it starts"),
        (SigmaInterval(low=0.8), (0.5, 0.2, 0.0), "begins at noise level 0.5, and guidance ends above it, at 0.8"),
        (SigmaInterval(high=0.1), (1.0, 0.5, 0.0), "last step at noise level 0.5, and guidance starts below it"),
        (SigmaInterval(high=0.6, low=0.5), SIGMAS, "no step of this run lies between"),
    ],
)
def test_the_schedule(
    make: Callable[[SigmaInterval], Guidance], interval: SigmaInterval, sigmas: tuple[float, ...], reason: str
) -> None:
    assert reason in summary(make(interval), sigmas=sigmas)


@pytest.mark.parametrize("make", [sparse, vendi])
def test_a_batch_of_one(make: Callable[[SigmaInterval], Guidance]) -> None:
    assert "a batch of one has nothing to keep away from: connect a Memory Bank" in summary(
        make(SigmaInterval()), batch=1
    )


def test_a_batch_of_one_is_not_spread() -> None:
    assert "A batch of one image cannot be spread." in summary(spread(SigmaInterval()), batch=1)


def test_references_of_another_size() -> None:
    sources = [ImageReferences(noise(1, 2, (4, 6, 6)))]
    told = summary(SparseRepellency(RepellencySettings(), sources), batch=1)
    assert "Nothing was moved: no reference fits this run. 2 references of another image size" in told


@pytest.mark.parametrize("make", [sparse, vendi])
def test_a_model_that_answers_nan(make: Callable[[SigmaInterval], Guidance]) -> None:
    told = summary(make(SigmaInterval()), value=float("nan"))
    assert "the model's own estimates hold NaN or infinity (images 0, 1)" in told


def own_masks(*parts: slice) -> Tensor:
    """A mask for each image, which lets these columns of it change."""
    masks = torch.zeros(len(parts), 1, *SHAPE[1:])
    for mask, part in zip(masks, parts, strict=True):
        mask[..., part] = 1
    return masks


LEFT, RIGHT, NONE = slice(0, 4), slice(4, 8), slice(0, 0)


@pytest.mark.parametrize("make", [sparse, vendi])
@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ((LEFT, RIGHT), "the masks share nothing that may change"),
        ((LEFT, NONE), "the masks share nothing that may change"),
        ((NONE, NONE), "the mask lets nothing change"),
    ],
)
def test_masks(make: Callable[[SigmaInterval], Guidance], parts: tuple[slice, slice], reason: str) -> None:
    guidance = make(SigmaInterval())
    told = summary(guidance, mask=own_masks(*parts))
    assert told.startswith(f"Nothing was moved: {reason}") and "could be measured" not in told
    assert guidance.trace.headline() == f"Did nothing: {reason}"


@pytest.mark.parametrize("make", [sparse, vendi])
def test_masks_that_share_something_are_no_reason(make: Callable[[SigmaInterval], Guidance]) -> None:
    assert "mask" not in summary(make(SigmaInterval()), mask=own_masks(LEFT, slice(2, 8)))


def test_masks_that_share_nothing_beside_a_reference_are_no_reason() -> None:
    guidance = SparseRepellency(RepellencySettings(absolute_radius=0.1), [ImageReferences(noise(1, 2))])
    assert "no estimate came inside a shield" in summary(guidance, mask=own_masks(LEFT, RIGHT))


def test_a_run_that_acts_gives_no_reason() -> None:
    told = summary(SparseRepellency(RepellencySettings(absolute_radius=1e3)))
    assert told.startswith("Moved 2 of 2")


@pytest.mark.parametrize(("last", "clean"), [(0.0, True), (0.002, True), (0.0292, True), (0.1, False), (0.9, False)])
def test_what_counts_as_clean(last: float, clean: bool) -> None:
    """Stable Diffusion's own schedules end at 0.0292."""
    assert Schedule((1.0, last)).ends_clean == clean
