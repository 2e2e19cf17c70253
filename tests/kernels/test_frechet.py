"""Fréchet distance: closed forms, scipy's matrix root, and few items in many dimensions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diversity_guidance.kernels.frechet import frechet_distance
from hypothesis import given
from hypothesis import strategies as st
from support.missing import library


def features(seed: int, n: int, d: int) -> torch.Tensor:
    generator = np.random.default_rng(seed)
    return torch.as_tensor(generator.standard_normal((n, d)) @ generator.standard_normal((d, d)))


@given(seed=st.integers(0, 999), d=st.integers(1, 12))
def test_scipy_agrees(seed: int, d: int) -> None:
    linalg = library("scipy.linalg")
    x, y = features(seed, 40, d).numpy(), features(seed + 1, 50, d).numpy() + 0.5
    cov_x, cov_y = np.atleast_2d(np.cov(x, rowvar=False)), np.atleast_2d(np.cov(y, rowvar=False))
    root = np.real(linalg.sqrtm(cov_x @ cov_y))
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(cov_x + cov_y - 2 * root)
    assert frechet_distance(torch.as_tensor(x), torch.as_tensor(y)) == pytest.approx(expected, rel=1e-8)


@given(seed=st.integers(0, 999), n=st.integers(2, 9), m=st.integers(2, 30), d=st.integers(10, 20))
def test_few_items_give_the_distance_of_their_gaussians(seed: int, n: int, m: int, d: int) -> None:
    x, y = features(seed, n, d).numpy(), features(seed + 1, m, d).numpy()
    cov_x, cov_y = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = np.sqrt(np.linalg.eigvals(cov_x @ cov_y).real.clip(0)).sum()
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(cov_x + cov_y) - 2 * root
    assert frechet_distance(torch.as_tensor(x), torch.as_tensor(y)) == pytest.approx(expected, rel=1e-5)


def test_gaussians_with_commuting_covariances() -> None:
    def with_variances(*variances: float) -> torch.Tensor:
        steps = torch.diag(torch.tensor(variances, dtype=torch.float64).mul(2.5).sqrt())
        return torch.cat([steps, -steps])

    x, y = with_variances(1, 4, 9), with_variances(4, 4, 0) + torch.tensor([1.0, 2, 2])
    assert frechet_distance(x, y) == pytest.approx(9 + 1 + 0 + 9)


@given(seed=st.integers(0, 999), n=st.sampled_from([3, 60]))
def test_rotation_order_sides_and_shifts(seed: int, n: int) -> None:
    x, y = features(seed, n, 6), features(seed + 1, n, 6)
    distance = frechet_distance(x, y)
    rotation = torch.linalg.qr(features(seed + 2, 6, 6)).Q
    assert frechet_distance(y, x) == pytest.approx(distance, rel=1e-7)
    assert frechet_distance(x.flip(0), y @ torch.eye(6, dtype=y.dtype)) == pytest.approx(distance, rel=1e-7)
    assert frechet_distance(x @ rotation, y @ rotation) == pytest.approx(distance, rel=1e-7)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6 * float(x.square().sum()))
    assert frechet_distance(x, x + 2) == pytest.approx(24, rel=1e-6)


@pytest.mark.parametrize("n", [3, 60])
def test_constant_images_are_a_point(n: int) -> None:
    """Covariance zero: what remains is the shift of the mean and the spread of the other set."""
    x, constant = features(1, n, 6), torch.ones(n, 6)
    expected = float((x.mean(0) - 1).square().sum() + x.var(0).sum())
    assert frechet_distance(x, constant) == pytest.approx(expected)
    assert frechet_distance(constant, constant) == 0


def test_half_precision_is_taken_and_computed_in_float64() -> None:
    x, y = features(2, 30, 4).half(), features(3, 30, 4).half()
    assert frechet_distance(x, y) == frechet_distance(x.double(), y.double())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: frechet_distance(torch.ones(1, 4), torch.ones(5, 4)), "at least two items"),
        (lambda: frechet_distance(torch.ones(5, 3), torch.ones(5, 4)), "3 and of 4"),
        (lambda: frechet_distance(torch.full((5, 3), torch.nan), torch.ones(5, 3)), "finite"),
    ],
)
def test_bad_input_is_refused_with_a_sentence(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
