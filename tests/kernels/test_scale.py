"""The typical distance: what unrelated images really lie apart, whatever the batch."""

from __future__ import annotations

import math

import pytest
import torch
from diversity_guidance.kernels.scale import typical_distance
from hypothesis import given
from hypothesis import strategies as st


def noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(4, 32, 32), (16, 8, 8), (16, 3, 8, 8)])
def test_unrelated_images_lie_that_far_apart(shape: tuple[int, ...]) -> None:
    latents = noise(0, 40, *shape)
    measured = float(torch.nn.functional.pdist(latents.flatten(1)).square().mean().sqrt())
    assert typical_distance(latents) == pytest.approx(measured, rel=0.02)
    assert typical_distance(latents) == pytest.approx(math.sqrt(2 * math.prod(shape)), rel=0.02)


def test_one_image_is_enough_and_copies_change_nothing() -> None:
    latents = noise(0, 1, 4, 32, 32)
    assert typical_distance(latents) == pytest.approx(math.sqrt(2 * 4096), rel=0.05)
    assert typical_distance(latents.repeat(9, 1, 1, 1)) == pytest.approx(typical_distance(latents), rel=1e-6)


@given(st.integers(0, 2**31), st.floats(0.01, 100), st.floats(-50, 50))
def test_it_follows_contrast_and_ignores_colour(seed: int, contrast: float, colour: float) -> None:
    latents = noise(seed, 3, 4, 8, 8).double()
    tint = colour * noise(seed + 1, 3, 4, 1, 1).double()
    assert typical_distance(contrast * latents + tint) == pytest.approx(contrast * typical_distance(latents), rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_dtype(dtype: torch.dtype) -> None:
    latents = noise(0, 3, 4, 64, 64)
    # The sum of squares is beyond what half precision holds.
    assert typical_distance((30 * latents).to(dtype)) == pytest.approx(30 * typical_distance(latents), rel=1e-3)


def test_images_that_are_not_finite_are_left_out() -> None:
    latents = noise(0, 3, 4, 8, 8)
    broken = latents.clone()
    broken[1, 0, 0, 0] = math.nan
    broken[2, 0, 0, 0] = math.inf
    assert typical_distance(broken) == pytest.approx(typical_distance(latents[:1]))
    assert typical_distance(broken[1:]) == 0


def test_nothing() -> None:
    assert typical_distance(torch.zeros(0, 4, 8, 8)) == 0
    assert typical_distance(torch.full((2, 4, 8, 8), 3.0)) == 0
