"""What is prepared of a bank's references is kept from queue to queue, and extended by the new images."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diversity_guidance.guidance import reference_bounds
from diversity_guidance.guidance.base import SamplingRun, SamplingStep
from diversity_guidance.guidance.references import MIN_BOUNDED, ImageReferences, ReferenceSource
from diversity_guidance.guidance.repellency.guidance import RepellencySettings, SparseRepellency
from diversity_guidance.kernels.shields.distance_bounds import DistanceBounds
from diversity_guidance.stores.bank.bank import MemoryBank
from torch import Tensor

SHAPE = (4, 8, 8)
SAVED = 4


@pytest.fixture
def bank(tmp_path: Path) -> MemoryBank:
    bank = MemoryBank(tmp_path, "portraits", capacity=MIN_BOUNDED)
    bank.append(latents(MIN_BOUNDED, 0), latent_format="SD3")
    return bank


def latents(count: int, seed: int) -> Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


def steered(
    source: ReferenceSource, estimates: Tensor, scale: float = 1.0, further: Tensor | None = None
) -> tuple[Tensor, list[float]]:
    """The estimates after a step, and the distances to the nearest that it tells."""
    sources = [source] + ([] if further is None else [ImageReferences(further, "SD3")])
    guidance = SparseRepellency(RepellencySettings(radius=0.5), sources)
    sigmas = torch.tensor([1.0, 0.5, 0.0])
    guidance.begin(SamplingRun(len(estimates), SHAPE, sigmas, torch.device("cpu"), "SD3", 0, lambda raw: scale * raw))
    step = SamplingStep(1.0, 0.5, 0.0, scale * estimates + 1, scale * estimates)
    found = guidance(step.conditional, step)
    guidance.finish(found)
    return found, guidance.trace.final_nearest


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of references at each time that directions are sought."""
    fit, counts = DistanceBounds.fit, list[int]()

    def counted(references: Tensor, *rest: object) -> DistanceBounds:
        counts.append(len(references))
        return fit(references, *rest)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(DistanceBounds, "fit", counted)
    monkeypatch.setattr(reference_bounds, "_kept", [])
    return counts


def test_queues_prepare_only_what_is_new(bank: MemoryBank, fitted: list[int]) -> None:
    held = None
    for queue in range(12):
        held = bank.snapshot()
        view = held.matching("SD3", SHAPE)
        # Near the oldest, the newest, and one of long ago.
        estimates = view.latents[[0, -1, 60]].float() + 0.1 * latents(3, queue + 50)
        found, nearest = steered(held, estimates)
        expected, exact = steered(ImageReferences(view.latents), estimates)
        torch.testing.assert_close(found, expected)
        assert nearest == pytest.approx(exact) and bool((found != estimates).flatten(1).any(1).all())
        bank.append(latents(SAVED, queue + 100), latent_format="SD3")
    # The bank is prepared once, and images without an identity each time.
    assert len(fitted) == 1 + 12


def test_another_space_or_bank_is_prepared_anew(bank: MemoryBank, fitted: list[int]) -> None:
    snapshot = bank.snapshot()
    estimates = snapshot.matching("SD3", SHAPE).latents[:2].float() + 0.1
    for scale in (1.0, 2.0, 2.0, 1.0, 3.0):
        steered(snapshot, estimates, scale)
    assert len(fitted) == 3


def test_images_to_avoid_beside_the_bank_are_read_in_every_run(bank: MemoryBank, fitted: list[int]) -> None:
    snapshot, further = bank.snapshot(), latents(3, 7)
    for _ in range(2):
        found, _ = steered(snapshot, further + 0.1, further=further)
        assert bool((found != further + 0.1).flatten(1).any(1).all())
    assert len(fitted) == 1


def test_after_a_removal_in_the_middle_nothing_is_prepared_anew(bank: MemoryBank, fitted: list[int]) -> None:
    view = bank.snapshot().matching("SD3", SHAPE)
    estimates = view.latents[[0, 70, -1]].float() + 0.1 * latents(3, 5)
    steered(bank.snapshot(), estimates)
    bank.append(latents(SAVED, 9), latent_format="SD3")
    bank.remove(view.ids[40:60])
    bank.append(latents(40, 10), latent_format="SD3")
    after = bank.snapshot()
    found, nearest = steered(after, estimates)
    assert len(fitted) == 1
    expected, exact = steered(ImageReferences(after.matching("SD3", SHAPE).latents), estimates)
    torch.testing.assert_close(found, expected)
    assert nearest == pytest.approx(exact)


def test_beside_another_source_each_image_keeps_its_own_bounds(bank: MemoryBank, fitted: list[int]) -> None:
    """Images of no known identity stand before those of the bank, whose bounds are kept."""
    view, further = bank.snapshot().matching("SD3", SHAPE), latents(3, 7)
    estimates = torch.cat([view.latents[[0, -1]].float(), further]) + 0.1
    sources = (
        [ImageReferences(further, "SD3"), bank.snapshot()],
        [
            ImageReferences(further, "SD3"),
            ImageReferences(view.latents, "SD3"),
        ],
    )
    moved = []
    for given in (sources[0], sources[0], sources[1]):
        guidance = SparseRepellency(RepellencySettings(radius=0.5), given)
        guidance.begin(SamplingRun(5, SHAPE, torch.tensor([1.0, 0.5, 0.0]), torch.device("cpu"), "SD3", 0))
        moved.append(guidance(estimates, SamplingStep(1.0, 0.5, 0.0, estimates + 1, estimates)))
    torch.testing.assert_close(moved[0], moved[2])
    torch.testing.assert_close(moved[1], moved[2])
    # Once for the two runs with the bank, and once for images without an identity.
    assert len(fitted) == 2
