"""A bank so large that bounds rule most references out: the images are the same."""

from __future__ import annotations

import pytest
import torch
from diversity_guidance.guidance import references
from diversity_guidance.guidance.base import SamplingRun, SamplingStep
from diversity_guidance.guidance.references import MIN_BOUNDED, ImageReferences
from diversity_guidance.guidance.repellency.guidance import RepellencySettings, SparseRepellency
from torch import Tensor

SHAPE = (4, 16, 16)


def to_model_space(latents: Tensor) -> Tensor:
    return (latents - 0.1) * torch.tensor([2.0, 1.5, 1.0, 0.5]).view(4, 1, 1)


def pushed(bank: Tensor, mask: Tensor | None) -> tuple[Tensor, SparseRepellency]:
    """Three estimates, of which the first two are near references, after one evaluation."""
    guidance = SparseRepellency(RepellencySettings(in_batch=False), [ImageReferences(bank, "SD3")])
    sigmas = torch.tensor([1.0, 0.5, 0.0])
    guidance.begin(SamplingRun(3, SHAPE, sigmas, torch.device("cpu"), "SD3", 0, to_model_space))
    near = bank[[5, 150]].float() + 0.05
    far = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(9))
    estimates = to_model_space(torch.cat([near, far]))
    return guidance(estimates, SamplingStep(1.0, 0.5, 0.0, estimates + 1, estimates, mask)), guidance


def walked(bank: Tensor, mask: Tensor | None) -> list[Tensor]:
    """Two estimates after each of several steps, in which they go from one reference to another and change places."""
    guidance = SparseRepellency(RepellencySettings(radius=0.5), [ImageReferences(bank, "SD3")])
    guidance.begin(SamplingRun(2, SHAPE, torch.tensor([1.0, 0.0]), torch.device("cpu"), "SD3", 0, to_model_space))
    found = []
    for share in (0.0, 0.1, 0.5, 0.9, 0.9, 0.2):
        raw = bank[[5, 150]].float().lerp(bank[[180, 7]].float(), share) + 0.05
        estimates = to_model_space(raw).flip(0) if share == 0.9 else to_model_space(raw)
        found.append(guidance(estimates, SamplingStep(1.0, 0.5, 0.0, estimates + 1, estimates, mask)))
    return found


@pytest.mark.parametrize("masked", [False, True])
def test_what_moves_is_pushed_as_if_all_were_read(masked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    bank = torch.randn(200, *SHAPE, generator=torch.Generator().manual_seed(1)).half()
    mask = (torch.arange(16) > 3).float().expand(1, 1, 16, 16) if masked else None
    found = walked(bank, mask)
    monkeypatch.setattr(references, "MIN_BOUNDED", len(bank) + 1)
    torch.testing.assert_close(found, walked(bank, mask))


@pytest.mark.parametrize("masked", [False, True])
def test_ruling_references_out_changes_nothing(masked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    bank = torch.randn(200, *SHAPE, generator=torch.Generator().manual_seed(1)).half()
    mask = None
    if masked:
        mask = torch.zeros(1, 1, 16, 16)
        mask[..., 4:] = 1
    assert len(bank) >= MIN_BOUNDED
    found, guidance = pushed(bank, mask)
    monkeypatch.setattr(references, "MIN_BOUNDED", len(bank) + 1)
    expected, whole = pushed(bank, mask)
    torch.testing.assert_close(found, expected)
    (step,), (other,) = guidance.trace.steps, whole.trace.steps
    assert step.radius == pytest.approx(other.radius)
    for record, wanted in zip(step.samples[:2], other.samples[:2], strict=True):
        assert [contact.reference for contact in record.contacts] == [contact.reference for contact in wanted.contacts]
        assert record.contacts[0].reference in ("image:5", "image:150")
        assert record.nearest == pytest.approx(wanted.nearest)
    assert step.radius <= step.samples[2].nearest < other.samples[2].nearest

    monkeypatch.undo()
    final = to_model_space(torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(2)))
    guidance.finish(final)
    whole.finish(final)
    assert guidance.trace.final_nearest == pytest.approx(whole.trace.final_nearest)
