"""Rejecting a claimed coverage before all samples are there."""

from __future__ import annotations

import pytest
import torch
from diversity_guidance.benchmarks.irs.early_rejection import EarlyRejection
from diversity_guidance.kernels.retrieval import rejection_threshold
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


def test_looks_outside_the_plan_are_refused() -> None:
    with pytest.raises(ValueError, match="between 1 and 60"):
        EarlyRejection(50, planned=60, looks=[0, 60])
