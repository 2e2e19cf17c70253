"""Energy distances against published vectors, the definition and autograd."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from diversity_guidance.kernels.energy import (
    mean_distance,
    mean_distance_slope,
    mean_length,
    radius_of_slope,
)
from diversity_guidance.kernels.quantization import (
    gaussian_energy_distance,
    huber_energy_distance,
)
from hypothesis import given
from hypothesis import strategies as st
from support.energy_gradients import gaussian_energy_gradient, huber_energy_gradient
from torch import Tensor

CORNERS = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
THREE = [(1, 0), (-0.5, 0.7), (0.2, -1.3)]


def rows(points: list[tuple[float, ...]]) -> Tensor:
    return torch.tensor(points, dtype=torch.float64)


def gaussian(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("points", "samples", "by_smoothing"),
    [
        (
            [(-1, -1), (1, 1)],
            CORNERS,
            {0: 0.146446609407, 1e-6: 0.146446484407, 1e-5: 0.146445359411, 1: 0.059016994375},
        ),
        (
            [(0, 0), (1, 0), (0, 2)],
            [(0.5, 0.5), (-1, 1)],
            {0: 0.366237877430, 1e-6: 0.366237460763, 1e-5: 0.366233710788, 1: 0.143525427596},
        ),
    ],
)
def test_huber_energy_vectors(points: list, samples: list, by_smoothing: dict[float, float]) -> None:
    for smoothing, expected in by_smoothing.items():
        found = huber_energy_distance(rows(points), rows(samples), smoothing)
        assert found == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(0, 0)], 0.367087211863),
        ([(1, 0), (-1, 0)], 0.162345535098),
        ([(1, 0), (-0.5, math.sqrt(0.75)), (-0.5, -math.sqrt(0.75))], 0.084995265909),
        (THREE, 0.114089391506),
    ],
)
def test_gaussian_energy_vectors(points: list, expected: float) -> None:
    assert gaussian_energy_distance(rows(points)) == pytest.approx(expected, abs=1e-11)


def test_gaussian_gradient_vector() -> None:
    expected = rows([(0.0268064266, -0.0476414279), (0.0417817580, -0.0180052202), (0.0559189682, -0.0240430509)])
    assert torch.allclose(gaussian_energy_gradient(rows(THREE)), expected, atol=1e-10)


@pytest.mark.parametrize("dimension", [1, 2, 3, 17, 300, 1023, 1024, 16384, 65536])
def test_mean_distance_is_the_moment(dimension: int) -> None:
    """Against mpmath, at radii where SciPy's own function is infinite or NaN among them."""
    radii = np.array([0.0, 0.01, 0.5, 0.9483, 1.0, 2.0]) * math.sqrt(dimension)
    mpmath.mp.dps = 40
    half = mpmath.mpf(dimension) / 2
    scale = mpmath.sqrt(2) * mpmath.exp(mpmath.loggamma(half + 0.5) - mpmath.loggamma(half))
    exact = [float(scale * mpmath.hyp1f1(-0.5, half, -(mpmath.mpf(radius) ** 2) / 2)) for radius in radii]
    slopes = [
        float(scale * radius / dimension * mpmath.hyp1f1(0.5, half + 1, -(mpmath.mpf(radius) ** 2) / 2))
        for radius in radii
    ]
    assert mean_distance(radii, dimension) == pytest.approx(exact, rel=1e-11)
    assert mean_distance_slope(radii, dimension) == pytest.approx(slopes, rel=1e-11)
    assert mean_length(dimension) == pytest.approx(exact[0], rel=1e-11)


@pytest.mark.parametrize("dimension", [1, 2, 5, 64, 2000, 65536])
def test_radius_of_slope_inverts_the_slope(dimension: int) -> None:
    radii = np.linspace(0, 2, 50) * math.sqrt(dimension)
    assert radius_of_slope(mean_distance_slope(radii, dimension), dimension) == pytest.approx(radii, abs=1e-9)


@given(st.integers(2, 6), st.integers(1, 5), st.integers(0, 1000))
def test_gradients_are_those_of_autograd(count: int, dimension: int, seed: int) -> None:
    points, samples = gaussian(seed, count, dimension), gaussian(seed + 1, 7, dimension)
    smoothing = 0.3
    leaf = points.clone().requires_grad_()

    def mean_huber(x: Tensor, y: Tensor) -> Tensor:
        return (((x[:, None] - y).square().sum(2) + smoothing**2).sqrt() - smoothing).mean()

    loss = mean_huber(leaf, samples) - mean_huber(leaf, leaf) / 2 - mean_huber(samples, samples) / 2
    loss.backward()
    assert loss.item() == pytest.approx(huber_energy_distance(points, samples, smoothing), abs=1e-10)
    assert leaf.grad is not None
    assert torch.allclose(leaf.grad, huber_energy_gradient(points, samples, smoothing), atol=1e-9)


@pytest.mark.parametrize("shape", [(3, 1), (5, 4), (4, 3000), (2, 4, 8, 8)])
def test_gaussian_gradient_is_the_difference_quotient(shape: tuple[int, ...]) -> None:
    points, direction, step = gaussian(1, *shape), gaussian(2, *shape), 1e-5
    quotient = gaussian_energy_distance(points + step * direction) - gaussian_energy_distance(points - step * direction)
    slope = float((gaussian_energy_gradient(points) * direction).sum())
    assert quotient / (2 * step) == pytest.approx(slope, abs=1e-6)


def test_gaussian_distance_is_the_limit_of_samples() -> None:
    points, samples = gaussian(3, 6, 3), gaussian(4, 6000, 3)
    assert gaussian_energy_distance(points) == pytest.approx(huber_energy_distance(points, samples, 0.0), abs=0.01)


def test_equal_sets_are_at_distance_zero_and_half_precision_is_read() -> None:
    points = gaussian(5, 9, 4)
    assert huber_energy_distance(points, points.flip(0)) == pytest.approx(0, abs=1e-12)
    assert gaussian_energy_distance(points.half()) == pytest.approx(gaussian_energy_distance(points), abs=1e-3)


def test_coincident_points_have_a_finite_gradient() -> None:
    points = torch.ones(4, 3)
    assert torch.isfinite(gaussian_energy_gradient(points)).all()
    assert torch.isfinite(huber_energy_gradient(points, points)).all()


@pytest.mark.parametrize(
    ("points", "samples", "smoothing", "sentence"),
    [
        (torch.empty(0, 3), torch.ones(1, 3), 0.1, "no points"),
        (torch.ones(1, 3), torch.empty(0, 3), 0.1, "no samples"),
        (torch.full((1, 3), math.nan), torch.ones(1, 3), 0.1, "must be finite"),
        (torch.ones(1, 3), torch.ones(1, 3), -0.1, "smoothing"),
        (torch.ones(1, 3), torch.ones(1, 3), math.nan, "smoothing"),
    ],
)
def test_bad_input(points: Tensor, samples: Tensor, smoothing: float, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        huber_energy_distance(points, samples, smoothing)
