"""Vendi Scores against known values, the reference package and symmetry; gradients against differences."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from diversity_guidance.kernels.similarity import cosine_kernel, gaussian_kernel, unit_rows
from diversity_guidance.kernels.vendi import (
    log_vendi_gradient,
    log_vendi_gradient_gaussian,
    log_vendi_kernel_gradient,
    vendi_score,
    vendi_score_features,
)
from hypothesis import given
from hypothesis import strategies as st
from support.missing import library

ORDERS = (0.1, 0.5, 1.0, 1.5, 2.0, 3.0, math.inf)
KERNEL = torch.tensor(
    [[1, 0.9, 0.1, 0.2], [0.9, 1, 0.15, 0.25], [0.1, 0.15, 1, 0.5], [0.2, 0.25, 0.5, 1]], dtype=torch.float64
)
TRIANGLE = torch.tensor([[0, 0], [1, 0], [0, 2]], dtype=torch.float64)
CONDITIONS = torch.tensor([[1, 0], [0.8, 0.6], [0, 1]], dtype=torch.float64)


def rows(seed: int, n: int, d: int) -> torch.Tensor:
    return unit_rows(torch.as_tensor(np.random.default_rng(seed).standard_normal((n, d))))


def central_difference(function, x: torch.Tensor, step: float = 1e-5) -> torch.Tensor:
    """Fourth-order central differences of a scalar function, entry by entry."""
    gradient = torch.empty_like(x)
    for i in range(x.numel()):
        delta = torch.zeros_like(x)
        delta.view(-1)[i] = step
        near = function(x + delta) - function(x - delta)
        far = function(x + 2 * delta) - function(x - 2 * delta)
        gradient.view(-1)[i] = (8 * near - far) / (12 * step)
    return gradient


def log_vendi_of(kernel: torch.Tensor, order: float) -> float:
    """Log Vendi Score without any scaling of the trace, so that its ambient gradient is the analytic one."""
    spectrum = torch.linalg.eigvalsh(kernel / len(kernel))
    spectrum = spectrum[spectrum > 1e-12]
    if math.isinf(order):
        return -math.log(spectrum.max())
    if order == 1:
        return -float((spectrum * spectrum.log()).sum())
    return math.log((spectrum**order).sum()) / (1 - order)


@pytest.mark.parametrize(
    ("order", "score"),
    [
        (0.1, 3.8099425921),
        (0.5, 3.2537367458),
        (1.0, 2.8624134801),
        (1.5, 2.6420388914),
        (2.0, 2.5039123631),
        (3.0, 2.3394713282),
        (math.inf, 1.8974573921),
    ],
)
def test_scores_of_a_known_kernel(order: float, score: float) -> None:
    assert vendi_score(KERNEL, order) == pytest.approx(score, abs=1e-9)


@pytest.mark.parametrize(
    ("order", "score"), [(0.5, 3.1730505459), (1, 2.8035691797), (2, 2.4455857178), (math.inf, 1.7875182388)]
)
def test_weighted_scores(order: float, score: float) -> None:
    weights = torch.tensor([1, 2, 3, 4])
    assert vendi_score(KERNEL, order, weights) == pytest.approx(score, abs=1e-9)


@pytest.mark.parametrize("order", ORDERS)
def test_scores_known_in_closed_form(order: float) -> None:
    assert vendi_score(torch.eye(4), order) == pytest.approx(4)
    assert vendi_score(torch.ones(200, 200), order) == pytest.approx(1)
    assert vendi_score(torch.block_diag(torch.ones(3, 3), torch.ones(3, 3)), order) == pytest.approx(2)
    assert vendi_score(torch.ones(1, 1), order) == pytest.approx(1)


@pytest.mark.parametrize(
    ("order", "score"), [(0.5, 1 + math.sqrt(3) / 2), (1, 1.7547653506), (2, 1.6), (math.inf, 4 / 3)]
)
def test_three_alike_and_one_apart(order: float, score: float) -> None:
    assert vendi_score(torch.block_diag(torch.ones(3, 3), torch.ones(1, 1)), order) == pytest.approx(score)


@pytest.mark.parametrize(
    ("order", "score"), [(0.5, 2.55146036), (1, 2.3164748964), (2, 2.1162957454), (math.inf, 1.7373792214)]
)
def test_scores_of_known_features_in_dual_form(order: float, score: float) -> None:
    x = rows(0, 6, 3)
    assert vendi_score_features(x, order) == pytest.approx(score, abs=1e-8)
    assert vendi_score(cosine_kernel(x), order) == pytest.approx(score, abs=1e-8)


@given(
    seed=st.integers(0, 999),
    n=st.integers(1, 9),
    d=st.integers(1, 9),
    order=st.sampled_from(ORDERS),
    weighted=st.booleans(),
)
def test_features_and_their_kernel_agree(seed: int, n: int, d: int, order: float, weighted: bool) -> None:
    x = rows(seed, n, d)
    weights = torch.rand(n, generator=torch.Generator().manual_seed(seed)) + 0.1 if weighted else None
    score = vendi_score_features(x, order, weights)
    assert 1 - 1e-9 <= score <= min(n, d) + 1e-9
    assert score == pytest.approx(vendi_score(x @ x.T, order, weights), rel=1e-8)


@given(seed=st.integers(0, 999), order=st.sampled_from(ORDERS))
def test_order_duplication_rotation_and_lengths_of_items_do_not_matter(seed: int, order: float) -> None:
    x = rows(seed, 6, 4)
    score = vendi_score_features(x, order)
    rotation = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    for same in (x.flip(0), torch.cat([x, x, x]), x @ rotation, 7 * x):
        assert vendi_score_features(same, order) == pytest.approx(score, rel=1e-8)
    assert vendi_score_features(x, order, torch.full((6,), 3.0)) == pytest.approx(score, rel=1e-8)


@given(seed=st.integers(0, 999))
def test_score_falls_with_the_order(seed: int) -> None:
    scores = [vendi_score_features(rows(seed, 7, 5), order) for order in (0.1, 0.9, 1, 1.1, 2, 5, 1e4, math.inf)]
    assert all(a >= b - 1e-9 for a, b in pairwise(scores))
    assert scores[-2] == pytest.approx(scores[-1], rel=1e-3)


@pytest.mark.parametrize("nearly", [1 - 1e-6, 1 - 1e-8, 1 + 1e-8, 1 + 1e-6])
def test_orders_close_to_one_are_continuous(nearly: float) -> None:
    assert vendi_score(KERNEL, nearly) == pytest.approx(vendi_score(KERNEL, 1), rel=2e-6)


def test_weight_zero_leaves_an_item_out() -> None:
    assert vendi_score(KERNEL, 1, torch.tensor([1, 1, 1, 0])) == pytest.approx(vendi_score(KERNEL[:3, :3], 1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("order", ORDERS)
def test_rounding_of_the_input_is_not_diversity(dtype: torch.dtype, order: float) -> None:
    same = torch.randn(1, 64, generator=torch.Generator().manual_seed(0)).expand(100, -1)
    assert vendi_score_features(same.to(dtype), order) == pytest.approx(1)
    assert vendi_score(cosine_kernel(same.to(dtype)), order) == pytest.approx(1, abs=1e-4)
    two = torch.cat([same, -same.roll(1, 1)])
    assert vendi_score_features(two.to(dtype), order) == pytest.approx(vendi_score_features(two, order), rel=0.02)


@pytest.mark.parametrize("order", [0.5, 1.0, 2.0, 3.0, math.inf])
def test_reference_package_agrees(order: float) -> None:
    vendi = library("vendi_score.vendi")
    x = rows(4, 12, 20).numpy()
    reference = vendi.score_K(x @ x.T, q="inf" if math.isinf(order) else order)
    assert vendi_score(torch.as_tensor(x @ x.T), order) == pytest.approx(reference, rel=1e-10)
    assert vendi_score_features(torch.as_tensor(x), order) == pytest.approx(reference, rel=1e-10)
    if order == 1:
        assert vendi_score_features(torch.as_tensor(x)) == pytest.approx(vendi.score_dual(x), rel=1e-8)


def test_zero_features_count_as_one_kind() -> None:
    x = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 0, 0], [5, 0, 0]])
    assert vendi_score_features(x) == pytest.approx(2)
    assert vendi_score_features(x.repeat(3, 1)) == pytest.approx(2)


def test_conditional_scores() -> None:
    kernel, condition = gaussian_kernel(TRIANGLE, bandwidth=1.0), cosine_kernel(CONDITIONS)
    assert vendi_score(kernel, 2) == pytest.approx(2.3772631866)
    assert vendi_score(kernel, 1) == pytest.approx(2.6121415556)
    assert vendi_score(condition, 2) == pytest.approx(1.8)
    joint = kernel * condition
    assert vendi_score(joint, 2) / vendi_score(condition, 2) == pytest.approx(1.4385438227)
    assert vendi_score(joint, 1) / vendi_score(condition, 1) == pytest.approx(1.4612924122)


@pytest.mark.parametrize(
    ("order", "upper"),
    [
        (
            1,
            "0.305582251301 -0.367001273053 -0.001914275593 -0.025851516646 0.312399339733 -0.026404473637 "
            "-0.051224763627 0.133494488876 -0.135015733825 0.140064274237",
        ),
        (
            2,
            "-0.312989045383 -0.281690140845 -0.031298904538 -0.062597809077 -0.312989045383 -0.046948356808 "
            "-0.078247261346 -0.312989045383 -0.156494522692 -0.312989045383",
        ),
        (
            0.5,
            "0.540323067868 -0.339487026986 0.007437411271 -0.006036873688 0.548595879907 -0.016218707076 "
            "-0.031086334296 0.309771066651 -0.081447272007 0.315169952647",
        ),
    ],
)
def test_kernel_gradients_of_a_known_kernel(order: float, upper: str) -> None:
    gradient = log_vendi_kernel_gradient(KERNEL, order)
    expected = torch.tensor([float(number) for number in upper.split()], dtype=torch.float64)
    torch.testing.assert_close(gradient[torch.triu(torch.ones(4, 4)) > 0], expected, atol=1e-11, rtol=0)
    torch.testing.assert_close(gradient, gradient.T)


def test_feature_gradient_of_a_known_row() -> None:
    x = rows(0, 6, 3)
    gradient = log_vendi_gradient(x, 1.0, torch.tensor([5]))[0]
    expected = torch.tensor([0.1944440578, -0.0381636348, -0.0581496145], dtype=torch.float64)
    tangent = torch.tensor([0.1133852300, -0.0984107493, -0.0931626733], dtype=torch.float64)
    torch.testing.assert_close(gradient, expected, atol=1e-10, rtol=0)
    torch.testing.assert_close(gradient - (gradient @ x[5]) * x[5], tangent, atol=1e-10, rtol=0)


def test_published_guidance_toy() -> None:
    """Bank and exemplars of two rows each, one moving row: value and direction of the c-VSG objective."""
    x = rows(5, 5, 4)
    bank, exemplars = torch.cat([x[:2], x[4:]]), x[2:]
    score_bank, score_exemplars = vendi_score_features(bank), vendi_score_features(exemplars)
    assert score_bank - 2 * score_exemplars == pytest.approx(-2.4411027045)
    last = torch.tensor([2])
    gradient = score_bank * log_vendi_gradient(bank, rows=last) - 2 * score_exemplars * log_vendi_gradient(
        exemplars, rows=last
    )
    tangent = (gradient - (gradient @ x[4])[:, None] * x[4])[0]
    expected = torch.tensor([-0.4432798116, -0.4743502946, 0.2101655802, 0.9356911263], dtype=torch.float64)
    torch.testing.assert_close(tangent, expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize(("n", "d"), [(4, 7), (9, 4), (1, 3)])
@pytest.mark.parametrize("order", [0.7, 1.0, 1.5, 2.0, 3.0, math.inf])
def test_feature_gradients_are_central_differences(n: int, d: int, order: float) -> None:
    x = rows(n + d, n, d)
    expected = central_difference(lambda moved: log_vendi_of(moved @ moved.T, order), x)
    torch.testing.assert_close(log_vendi_gradient(x, order), expected, atol=1e-8, rtol=0)
    some = torch.tensor([n - 1, 0])
    torch.testing.assert_close(log_vendi_gradient(x, order, some), expected[some], atol=1e-8, rtol=0)


@pytest.mark.parametrize("order", [0.7, 1.0, 2.0])
def test_conditional_feature_gradients_are_central_differences(order: float) -> None:
    x, condition = rows(3, 5, 3), cosine_kernel(rows(4, 5, 2))
    expected = central_difference(lambda moved: log_vendi_of(moved @ moved.T * condition, order), x)
    torch.testing.assert_close(log_vendi_gradient(x, order, condition=condition), expected, atol=1e-8, rtol=0)
    last = torch.tensor([4])
    torch.testing.assert_close(log_vendi_gradient(x, order, last, condition), expected[last], atol=1e-8, rtol=0)


@pytest.mark.parametrize("order", [0.7, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("conditional", [False, True])
def test_gaussian_gradients_are_central_differences(order: float, conditional: bool) -> None:
    x = torch.as_tensor(np.random.default_rng(2).standard_normal((5, 3)))
    condition = cosine_kernel(rows(4, 5, 2)) if conditional else None
    weights = torch.ones(5, 5, dtype=torch.float64) if condition is None else condition

    def objective(moved: torch.Tensor) -> float:
        return log_vendi_of(gaussian_kernel(moved, bandwidth=0.8) * weights, order)

    expected = central_difference(objective, x)
    gradient = log_vendi_gradient_gaussian(x, 0.8, order, condition=condition)
    torch.testing.assert_close(gradient, expected, atol=1e-8, rtol=0)


def test_gaussian_gradient_of_known_points_repels() -> None:
    gradient = log_vendi_gradient_gaussian(TRIANGLE, 1.0, 2, torch.tensor([2]))
    expected = torch.tensor([[-0.0071190548, 0.0529413044]], dtype=torch.float64)
    torch.testing.assert_close(gradient, expected, atol=1e-10, rtol=0)


def test_gaussian_gradient_keeps_the_shape_of_latents() -> None:
    latents = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    gradient = log_vendi_gradient_gaussian(latents, 4.0, rows=torch.tensor([0, 2]))
    assert gradient.shape == (2, 2, 4, 4)
    flat = log_vendi_gradient_gaussian(latents.flatten(1), 4.0, rows=torch.tensor([0, 2]))
    assert torch.equal(gradient.flatten(1), flat)


@pytest.mark.parametrize("order", [0.3, 0.7, 1.0, 2.0, math.inf])
@pytest.mark.parametrize(
    "features",
    [
        torch.ones(1, 4) / 2,
        torch.ones(6, 4) / 2,
        torch.eye(5),
        torch.eye(3).repeat(4, 1),
        rows(0, 5, 8).repeat(2, 1).float(),
        rows(1, 40, 3).float(),
        rows(2, 30, 16).half(),
    ],
    ids=["one item", "equal items", "orthogonal", "repeated basis", "duplicates", "rank deficient", "half"],
)
def test_degenerate_features_have_finite_gradients(features: torch.Tensor, order: float) -> None:
    gradient = log_vendi_gradient(features, order)
    assert gradient.shape == features.shape
    assert gradient.dtype == features.dtype
    assert torch.isfinite(gradient).all()


def test_orthogonal_set_is_a_stationary_point_on_the_sphere() -> None:
    x = torch.eye(4, dtype=torch.float64)
    gradient = log_vendi_gradient(x)
    tangent = gradient - (gradient * x).sum(1, keepdim=True) * x
    assert tangent.abs().max() < 1e-12


@given(seed=st.integers(0, 999), order=st.sampled_from([0.5, 1.0, 2.0]))
def test_a_small_step_along_the_gradient_raises_the_score(seed: int, order: float) -> None:
    x = rows(seed, 6, 4)
    moved = x + 1e-4 * log_vendi_gradient(x, order)
    assert vendi_score_features(moved, order) > vendi_score_features(x, order)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: vendi_score(torch.ones(2, 3)), "square kernel"),
        (lambda: vendi_score(torch.ones(0, 0)), "at least one"),
        (lambda: vendi_score_features(torch.ones(0, 4)), "at least one"),
        (lambda: vendi_score(KERNEL, 0), "order"),
        (lambda: vendi_score(KERNEL, math.nan), "order"),
        (lambda: vendi_score(KERNEL * math.nan), "finite"),
        (lambda: vendi_score_features(torch.full((2, 2), math.inf)), "finite"),
        (lambda: vendi_score(KERNEL, 1, torch.ones(3)), "one weight an item"),
        (lambda: vendi_score(KERNEL, 1, -torch.ones(4)), "non-negative"),
        (lambda: vendi_score(KERNEL, 1, torch.zeros(4)), "non-negative"),
        (lambda: log_vendi_gradient(torch.eye(4), condition=torch.ones(3, 3)), "every pair"),
        (lambda: log_vendi_kernel_gradient(torch.ones(0, 0)), "at least one"),
        (lambda: log_vendi_kernel_gradient(torch.ones(2, 3)), "square kernel"),
        (lambda: log_vendi_gradient(2 * torch.eye(3)), "unit length"),
        (lambda: log_vendi_gradient(torch.ones(3)), "n, d"),
        (lambda: log_vendi_gradient_gaussian(TRIANGLE, 0.0), "bandwidth"),
    ],
)
def test_bad_input_is_refused_with_a_sentence(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("order", [0.5, 1.0, 2.0])
def test_truncated_score(order: float) -> None:
    """2410.21719: the largest t eigenvalues, the rest of the trace spread evenly over them."""
    kernel = torch.diag(torch.ones(6, dtype=torch.float64))
    kernel[0, 1] = kernel[1, 0] = 0.8
    spectrum = torch.tensor([1.8, 1, 1]) / 6
    spectrum = spectrum + (1 - spectrum.sum()) / 3
    expected = (
        torch.exp(-(spectrum * spectrum.log()).sum()) if order == 1 else (spectrum**order).sum() ** (1 / (1 - order))
    )
    assert vendi_score(kernel, order, truncation=3) == pytest.approx(float(expected), rel=1e-6)
    assert vendi_score(kernel, order, truncation=6) == vendi_score(kernel, order)
    with pytest.raises(ValueError, match="at least 1 eigenvalue"):
        vendi_score(kernel, order, truncation=0)
