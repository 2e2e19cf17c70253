"""Image Retrieval Score: exact distributions, known thresholds and bounds, also where Stirling approximations fail."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache

import pytest
import torch
from diversity_guidance.kernels.retrieval import (
    distinct_count_cdf,
    distinct_count_moments,
    irs_infinity,
    rejection_threshold,
)
from hypothesis import given
from hypothesis import strategies as st

IMAGENET = 1_281_166
FOUR_FIFTHS = 1_024_933


@cache
def stirling(n: int, k: int) -> int:
    """Stirling numbers of the second kind in exact integers."""
    if n == 0 or k == 0:
        return int(n == k)
    return k * stirling(n - 1, k) + stirling(n - 1, k - 1)


def exact_probability(support: int, draws: int, count: int) -> Fraction:
    return Fraction(math.perm(support, count) * stirling(draws, count), support**draws)


def exact_cdf(support: int, draws: int, count: int) -> Fraction:
    return sum((exact_probability(support, draws, k) for k in range(count + 1)), Fraction(0))


@given(support=st.integers(1, 40), draws=st.integers(0, 40))
def test_distribution_is_that_of_exact_integers(support: int, draws: int) -> None:
    cdf = distinct_count_cdf(support, draws)
    expected = [float(exact_cdf(support, draws, count)) for count in range(min(support, draws) + 1)]
    torch.testing.assert_close(cdf, torch.tensor(expected, dtype=torch.float64), atol=1e-14, rtol=0)


def test_fifteen_draws_from_thirty_two() -> None:
    cdf = distinct_count_cdf(32, 15)
    known = [0.0024318, 0.0180857, 0.0784657, 0.2016911, 0.3048068, 0.2605187, 0.1142274156, 0.0195818427]
    assert torch.diff(cdf)[7:].tolist() == pytest.approx(known, abs=5e-8)
    assert cdf[9].item() == pytest.approx(0.0207084213, abs=1e-10)
    assert cdf[10].item() == pytest.approx(0.0991741628, abs=1e-10)


@pytest.mark.parametrize(("support", "probability"), [(38, 0.0525617), (39, 0.0475789), (40, 0.0431411)])
def test_ten_of_fifteen_refute_thirty_nine(support: int, probability: float) -> None:
    assert distinct_count_cdf(support, 15)[10].item() == pytest.approx(probability, abs=5e-8)


@pytest.mark.parametrize(
    ("support", "draws", "threshold"),
    [
        (32, 15, 9),
        (38, 15, 9),
        (39, 15, 10),
        (800, 60, 54),
        (640, 60, 54),
        (400, 60, 52),
        (200, 60, 47),
        (100, 60, 40),
        (100, 100, 57),
        (1000, 1000, 615),
        (1000, 2000, 849),
        (FOUR_FIFTHS, 2000, 1995),
        (5, 1, 0),
        (1, 9, 0),
        (7, 0, 0),
    ],
)
def test_rejection_thresholds(support: int, draws: int, threshold: int) -> None:
    assert rejection_threshold(support, draws) == threshold


def test_published_threshold_of_imagenet() -> None:
    """The paper's k_min: 48,744 distinct images among 50,000 draws refute 80 % of ImageNet."""
    assert rejection_threshold(FOUR_FIFTHS, 50_000) == 48_744
    assert rejection_threshold(IMAGENET, 50_000) == 48_986
    cdf = distinct_count_cdf(FOUR_FIFTHS, 50_000)
    assert cdf[48_744].item() == pytest.approx(0.0496311, abs=5e-8)
    assert cdf[48_745].item() == pytest.approx(0.0527200, abs=5e-8)
    assert (torch.diff(cdf) >= 0).all()


@given(support=st.integers(1, 60), draws=st.integers(1, 60), error=st.sampled_from([0.01, 0.05, 0.3]))
def test_threshold_is_the_last_count_below_the_error(support: int, draws: int, error: float) -> None:
    threshold, cdf = rejection_threshold(support, draws, error), distinct_count_cdf(support, draws)
    assert cdf[threshold] < error
    assert threshold + 1 == len(cdf) or cdf[threshold + 1] >= error


@pytest.mark.parametrize(
    ("support", "draws", "mean", "variance"),
    [
        (FOUR_FIFTHS, 50_000, 48800.0238454996, 1124.4102190557),
        (FOUR_FIFTHS, 2000, 1998.0508953, 1.9440432),
        (3000, 7000, 2709.1972335, None),
        (2, 3, 1.75, 0.1875),
        (1, 5, 1, 0),
        (9, 1, 1, 0),
        (9, 0, 0, 0),
    ],
)
def test_known_moments(support: int, draws: int, mean: float, variance: float | None) -> None:
    found = distinct_count_moments(support, draws)
    assert found[0] == pytest.approx(mean, rel=1e-8)
    if variance is not None:
        assert found[1] == pytest.approx(variance, rel=2e-8, abs=1e-12)


@given(support=st.integers(1, 3000), draws=st.integers(1, 300))
def test_moments_are_those_of_the_distribution(support: int, draws: int) -> None:
    cdf = distinct_count_cdf(support, draws)
    counts = torch.arange(len(cdf), dtype=torch.float64)
    probabilities = torch.diff(cdf, prepend=cdf.new_zeros(1))
    mean = float(probabilities @ counts)
    variance = float(probabilities @ (counts - mean).square())
    assert distinct_count_moments(support, draws) == pytest.approx((mean, variance), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("train_size", "draws", "learned", "bounds"),
    [
        (32, 15, 9, (9, 12, 26)),
        (32, 15, 10, (11, 16, 32)),
        (32, 15, 12, (15, 30, 32)),
        (32, 15, 15, (32, 32, 32)),
        (100, 100, 50, (55, 62, 73)),
        (100, 100, 63, (82, 98, 100)),
        (100, 200, 60, (60, 62, 66)),
        (100, 200, 86, (92, 98, 100)),
        (800, 60, 50, (101, 157, 280)),
        (800, 60, 58, (289, 800, 800)),
        (1000, 1000, 400, (434, 447, 463)),
        (1000, 1000, 632, (940, 998, 1000)),
        (1000, 2000, 500, (505, 510, 516)),
        (3000, 7000, 2709, (2966, 2999, 3000)),
    ],
)
def test_bounds_and_estimates(train_size: int, draws: int, learned: int, bounds: tuple[int, int, int]) -> None:
    assert irs_infinity(learned, draws, train_size) == bounds


@pytest.mark.parametrize(
    ("train_size", "draws", "learned", "bounds"),
    [
        (10, 20, 9, (9, 10, 10)),
        (10, 20, 10, (10, 10, 10)),
        (100, 300, 99, (100, 100, 100)),
        (100, 50, 1, (1, 1, 1)),
        (100, 50, 2, (2, 2, 2)),
        (7, 1, 1, (1, 7, 7)),
        (1, 1, 1, (1, 1, 1)),
    ],
)
def test_cases_at_the_edges_end(train_size: int, draws: int, learned: int, bounds: tuple[int, int, int]) -> None:
    """Counts of 1, of nearly all and of all training images: here a search over approximate numbers need not end."""
    assert irs_infinity(learned, draws, train_size) == bounds


@given(data=st.data(), train_size=st.integers(1, 25), draws=st.integers(1, 30))
def test_bounds_and_estimate_are_those_of_exhaustive_search(data: st.DataObject, train_size: int, draws: int) -> None:
    learned = data.draw(st.integers(1, min(train_size, draws)))
    error = data.draw(st.sampled_from([Fraction(1, 20), Fraction(1, 100), Fraction(2, 7)]))
    supports = range(learned, train_size + 1)
    reached = [s for s in supports if 1 - exact_cdf(s, draws, learned - 1) >= error]
    lower = min(reached, default=train_size)
    upper = max(s for s in supports if exact_cdf(s, draws, learned) >= error)
    likelihood = {s: exact_probability(s, draws, learned) for s in supports}
    estimate = train_size if learned == draws else max(supports, key=lambda s: (likelihood[s], -s))
    assert irs_infinity(learned, draws, train_size, float(error)) == (lower, estimate, upper)


def test_bounds_of_a_large_training_set() -> None:
    lower, estimate, upper = irs_infinity(48_744, 50_000, IMAGENET)
    assert lower < estimate < upper < FOUR_FIFTHS
    assert distinct_count_cdf(upper, 50_000)[48_744] >= 0.05 > distinct_count_cdf(upper + 1, 50_000)[48_744]
    assert 1 - distinct_count_cdf(lower, 50_000)[48_743] >= 0.05 > 1 - distinct_count_cdf(lower - 1, 50_000)[48_743]


def test_more_distinct_images_never_lower_the_verdict() -> None:
    verdicts = [irs_infinity(learned, 60, 200) for learned in range(1, 61)]
    for column in zip(*verdicts, strict=True):
        assert list(column) == sorted(column)
    assert all(lower <= estimate <= upper for lower, estimate, upper in verdicts)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: distinct_count_cdf(0, 5), "at least 1 and"),
        (lambda: distinct_count_cdf(5, -1), "negative number of draws"),
        (lambda: distinct_count_moments(0, 5), "at least 1 and"),
        (lambda: rejection_threshold(5, 5, 0), "error"),
        (lambda: rejection_threshold(5, 5, 1), "error"),
        (lambda: irs_infinity(0, 5, 10), "between 1 and 5"),
        (lambda: irs_infinity(6, 5, 10), "between 1 and 5"),
        (lambda: irs_infinity(4, 5, 3), "between 1 and 3"),
        (lambda: irs_infinity(1, 5, 10, math.nan), "error"),
    ],
)
def test_bad_input_is_refused_with_a_sentence(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
