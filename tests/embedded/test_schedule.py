"""Noise levels of the embedded model's loop."""

from __future__ import annotations

import pytest
import torch
from diversity_guidance.embedded.schedule import sigma_at_percent, simple_schedule


@pytest.mark.parametrize("steps", [1, 2, 8, 24, 1000])
def test_levels_fall_from_one_to_zero(steps: int) -> None:
    sigmas = simple_schedule(steps)
    assert sigmas.shape == (steps + 1,) and sigmas.dtype == torch.float32
    assert sigmas[0] == 1 and sigmas[-1] == 0
    assert bool((sigmas.diff() < 0).all())


def test_known_levels() -> None:
    expected = torch.tensor([1.0, 0.9, 0.75, 0.5, 0.0])
    torch.testing.assert_close(simple_schedule(4), expected)
    torch.testing.assert_close(simple_schedule(4, shift=1.0), torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0]))


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_numbers_of_steps_that_cannot_be(steps: int) -> None:
    with pytest.raises(ValueError, match="between 1 and 1000"):
        simple_schedule(steps)


def test_shares_of_the_schedule() -> None:
    assert [sigma_at_percent(percent) for percent in (-1, 0, 0.5, 1, 2)] == [1, 1, 0.75, 0, 0]
