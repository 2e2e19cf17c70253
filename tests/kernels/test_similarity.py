"""Distances and kernels: exact where it matters, defined everywhere."""

from __future__ import annotations

import math

import pytest
import torch
from diversity_guidance.kernels.similarity import (
    cosine_kernel,
    gaussian_kernel,
    median_bandwidth,
    squared_distances,
    unit_rows,
)
from hypothesis import given
from hypothesis import strategies as st

POINTS = torch.tensor([[0.0, 0], [1, 0], [0, 2], [3, 1]])


def normal(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@given(seed=st.integers(0, 999), n=st.integers(0, 6), m=st.integers(0, 6), d=st.integers(1, 9))
def test_squared_distances_are_those_of_the_differences(seed: int, n: int, m: int, d: int) -> None:
    x, y = normal(seed, n, d), normal(seed + 1, m, d)
    expected = (x[:, None].double() - y.double()).square().sum(2)
    torch.testing.assert_close(squared_distances(x, y).double(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("offset", [0.0, 1e-6, 1e-3, 0.1])
def test_close_items_far_from_the_origin_keep_their_digits(offset: float) -> None:
    x = normal(0, 4, 4096).double() + 100
    y = x.float().double() + offset
    expected = (x.float()[:, None].double() - y.float().double()).square().sum(2)
    torch.testing.assert_close(squared_distances(x.float(), y.float()).double(), expected, rtol=2e-4, atol=0)


def test_equal_items_are_at_distance_zero_exactly() -> None:
    x = normal(1, 5, 300)
    assert (squared_distances(x, x).diagonal() == 0).all()
    assert (squared_distances(x[:1].expand(4, -1), x[:1]) == 0).all()


def test_half_precision_latents_do_not_overflow() -> None:
    x = normal(2, 2, 4, 64, 64, dtype=torch.float16) * 4
    distance = squared_distances(x[:1], x[1:])
    assert distance.dtype == torch.float32
    assert distance.item() > torch.finfo(torch.float16).max


def test_gradient_through_squared_distances_is_finite_for_equal_items() -> None:
    x = normal(3, 3, 4, dtype=torch.float64).requires_grad_()
    squared_distances(x, x.detach()).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, 2 * (3 * x - x.sum(0)).detach())


def test_numpy_arrays_are_taken() -> None:
    assert squared_distances(POINTS.numpy(), POINTS.numpy()).dtype == torch.float32  # type: ignore[arg-type]


def test_items_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="2 and of 3 numbers"):
        squared_distances(torch.ones(1, 2), torch.ones(1, 3))
    with pytest.raises(ValueError, match="one vector an item"):
        cosine_kernel(torch.ones(3))


@given(seed=st.integers(0, 999), scale=st.sampled_from([1e-30, 1.0, 1e30]))
def test_cosine_kernel_ignores_lengths_and_rotations(seed: int, scale: float) -> None:
    x = normal(seed, 5, 4, dtype=torch.float64)
    rotation = torch.linalg.qr(normal(seed + 1, 4, 4, dtype=torch.float64)).Q
    expected = torch.nn.functional.cosine_similarity(x[:, None], x, dim=2)
    torch.testing.assert_close(cosine_kernel(x * scale), expected)
    torch.testing.assert_close(cosine_kernel(x @ rotation, x @ rotation), expected)
    torch.testing.assert_close(cosine_kernel((x * scale).float()).double(), expected, atol=1e-6, rtol=0)


def test_zero_items_are_alike_and_unlike_all_others() -> None:
    x = torch.tensor([[0.0, 0], [1, 1], [0, 0]])
    expected = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 0, 1]])
    torch.testing.assert_close(cosine_kernel(x), expected)
    assert (unit_rows(x)[0] == 0).all()


def test_gaussian_kernel_of_known_points() -> None:
    kernel = gaussian_kernel(POINTS[:3], bandwidth=1.0)
    assert kernel[0, 1].item() == pytest.approx(0.60653066)
    assert kernel[0, 2].item() == pytest.approx(0.13533528)
    assert kernel[1, 2].item() == pytest.approx(0.08208500)
    assert (kernel.diagonal() == 1).all()
    torch.testing.assert_close(gaussian_kernel(POINTS[:3], POINTS[1:3], bandwidth=1.0), kernel[:, 1:])


@pytest.mark.parametrize("bandwidth", [0.0, -1.0, math.inf, math.nan])
def test_bandwidth_must_be_positive(bandwidth: float) -> None:
    with pytest.raises(ValueError, match="positive finite bandwidth"):
        gaussian_kernel(POINTS, bandwidth=bandwidth)


def test_median_rule() -> None:
    assert median_bandwidth(POINTS) == pytest.approx(math.sqrt(5 / 2))
    assert gaussian_kernel(POINTS)[1, 2].item() == pytest.approx(math.exp(-1))
    assert gaussian_kernel(POINTS[:2], POINTS[2:])[1, 0].item() == pytest.approx(math.exp(-1))


def test_median_rule_with_mostly_or_only_equal_items() -> None:
    mostly = torch.tensor([[0.0]] * 5 + [[3.0]])
    assert median_bandwidth(mostly) == pytest.approx(math.sqrt(9 * 5 / 15 / 2))
    assert median_bandwidth(torch.ones(4, 2)) == 1
    assert median_bandwidth(torch.ones(1, 2)) == 1
    assert (gaussian_kernel(torch.ones(4, 2)) == 1).all()
