"""Rejecting a claimed coverage before all samples are there."""

from __future__ import annotations

import pytest
import torch
from diversity_guidance.kernels.retrieval import rejection_threshold
from diversity_guidance.metrics.measures.early_rejection import EarlyRejection, outlook
from hypothesis import given, settings
from hypothesis import strategies as st


def test_the_800_image_model_is_rejected_after_60_samples() -> None:
    threshold = rejection_threshold(800, 60)
    assert threshold == 54
    test = EarlyRejection(800, planned=60, looks=[60])
    rejection = test.update(torch.arange(60) % threshold)
    assert rejection is not None
    assert rejection.draws <= 60
    assert str(rejection).startswith("Stop: after 60 images with 54 different")
    assert EarlyRejection(800, planned=60, looks=[60]).update(torch.arange(60) % (threshold + 1)) is None


@settings(deadline=None, derandomize=True, database=None, max_examples=40)
@given(st.lists(st.integers(0, 39), min_size=60, max_size=60))
def test_stopping_early_decides_as_all_samples_would(retrieved: list[int]) -> None:
    test = EarlyRejection(50, planned=60, looks=[60])
    rejected = test.update(retrieved) is not None
    assert rejected == (len(set(retrieved)) <= rejection_threshold(50, 60))


def test_a_collapsed_model_is_stopped_long_before_the_plan_and_once_for_all() -> None:
    test = EarlyRejection(1000, planned=2000)
    rejection = test.update(torch.zeros(500, dtype=torch.int64))
    assert rejection is not None and rejection.draws < 62
    assert test.update(torch.arange(100)) is rejection
    assert test.draws == rejection.draws


def test_looks_share_the_error() -> None:
    test = EarlyRejection(500, planned=400)
    assert test.looks == (50, 100, 200, 400)
    assert test.thresholds == tuple(rejection_threshold(500, look, 0.05 / 4) for look in test.looks)
    generator = torch.Generator().manual_seed(0)
    refused = 0
    for _ in range(200):
        trial = EarlyRejection.__new__(EarlyRejection)
        trial.__dict__.update(test.__dict__, _seen=set(), draws=0, rejection=None)
        refused += trial.update(torch.randint(500, (400,), generator=generator)) is not None
    # A true claim is rejected in 5 % of the cases at most; 200 trials rarely show more than 9 %.
    assert refused <= 18


def test_few_references_are_looked_at_early() -> None:
    test = EarlyRejection(13, planned=32)
    assert test.looks == (8, 16, 32)
    rejection = test.update([3] * 32)
    assert rejection is not None and rejection.draws <= 8


def test_looks_outside_the_plan_are_refused() -> None:
    with pytest.raises(ValueError, match="between 1 and 60"):
        EarlyRejection(50, planned=60, looks=[0, 60])


def test_samples_beyond_the_plan_are_left_out() -> None:
    test = EarlyRejection(50, planned=60)
    assert test.update(torch.arange(60)) is None
    assert test.update(torch.zeros(500, dtype=torch.int64)) is None and test.draws == 60


def test_an_outlook_says_stop_as_soon_as_that_is_certain() -> None:
    found = outlook(torch.arange(60) % 30, 100, 200)
    assert found.stop and found.headline == "Stop: cannot reach 80%"
    assert "this cannot reach 80% of the references (80 of 100)" in found.sentence
    assert "; if so many were in reach, " in found.sentence and "Certainty 95%" in found.sentence
    going = outlook(torch.arange(40), 100, 200)
    assert not going.stop and going.headline == "Go on: 40 of 200"
    done = outlook(torch.arange(100), 100, 100)
    assert not done.stop and done.headline == "80% not ruled out"
    with pytest.raises(ValueError, match=r"above 0 and at most 1, got 1\.2"):
        outlook(torch.arange(4), 100, 200, claim=1.2)


def test_the_claim_is_relative_to_what_real_images_reach() -> None:
    """Where even real images retrieve half of the references only, nobody is asked for more."""
    retrieved = torch.arange(200) % 45
    assert outlook(retrieved, 100, 200).stop
    relative = outlook(retrieved, 100, 200, real=torch.arange(400) % 50)
    assert not relative.stop and "80% of what real images reach (40 of 100)" in relative.sentence


@pytest.mark.parametrize("share", [0.8, 1.0])
def test_models_that_keep_the_promise_are_rarely_stopped(share: float) -> None:
    generator = torch.Generator().manual_seed(1)
    stopped = sum(
        outlook(torch.randint(round(200 * share), (100,), generator=generator), 200, 100).stop for _ in range(100)
    )
    assert stopped <= 9
