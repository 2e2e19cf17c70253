"""Image Retrieval Score (arXiv 2411.16171): how much of a training set do generated images retrieve?

Each of n generated images retrieves its nearest training image; k of these are distinct. If s training images are
equally likely to be retrieved, k has the classical occupancy distribution P(K = k) = s! / (s - k)! S(n, k) / s^n with
Stirling numbers S of the second kind. It is computed draw by draw from positive terms alone,
p_{m+1}(k) = p_m(k) k/s + p_m(k-1) (s-k+1)/s, without approximating Stirling numbers.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor

# Tails of the distribution below this probability are trimmed while it is computed.
_NEGLIGIBLE = 1e-30
# Draws between two trims.
_TRIM_INTERVAL = 16
# Steps after which the search for a bound also bisects.
_GUIDED_STEPS = 8


def distinct_count_moments(support: int, draws: int) -> tuple[float, float]:
    """Mean and variance of the number of distinct items among uniform draws with replacement.

    Args:
        support: number s of equally likely items.
        draws: number n of draws.

    Returns:
        s (1 - (1 - 1/s)^n) and its variance, without cancellation for large s.

    Raises:
        ValueError: no support or a negative number of draws.
    """
    _check_counts(support, draws)
    if support == 1 or draws == 0:
        return float(min(draws, 1)), 0.0
    log_missed = draws * math.log1p(-1 / support)
    missed = math.exp(log_missed)
    # Logarithms of P(both missed) / P(one missed) and of P(both missed) / P(one missed)^2.
    log_both = draws * math.log1p(-1 / (support - 1)) if support > 2 else -math.inf
    log_covariance = draws * math.log1p(-1 / (support - 1) ** 2) if support > 2 else -math.inf
    mean = -support * math.expm1(log_missed)
    variance = support**2 * missed**2 * math.expm1(log_covariance) - support * missed * math.expm1(log_both)
    return mean, max(variance, 0.0)


def distinct_count_cdf(support: int, draws: int) -> Tensor:
    """Probability of at most k distinct items among uniform draws with replacement, for every k.

    Args:
        support: number s of equally likely items.
        draws: number n of draws.

    Returns:
        (min(s, n) + 1,) float64; entry k is P(K <= k), accurate to about 1e-12.

    Raises:
        ValueError: no support or a negative number of draws.
    """
    first, probabilities = _distinct_count(support, draws)
    cdf = np.zeros(min(support, draws) + 1)
    cdf[first : first + len(probabilities)] = np.minimum(np.cumsum(probabilities), 1)
    cdf[first + len(probabilities) :] = 1
    return torch.from_numpy(cdf)


def rejection_threshold(support: int, draws: int, error: float = 0.05) -> int:
    """Largest number of distinct retrieved images that rejects "at least ``support`` images are covered" (k_min).

    Args:
        support: number s of training images claimed to be covered, such as 80 % of the training set.
        draws: number n of generated images.
        error: level of the test: accepted probability of rejecting a true claim.

    Returns:
        Largest k with P(K <= k | s) < error: k or fewer distinct images reject the claim; 0 if none can.

    Raises:
        ValueError: no support, a negative number of draws, or an error outside (0, 1).
    """
    _check_error(error)
    return int(torch.count_nonzero(distinct_count_cdf(support, draws) < error)) - 1 if draws else 0


def irs_infinity(learned: int, draws: int, train_size: int, error: float = 0.05) -> tuple[int, int, int]:
    """Number of training images that a model would retrieve with infinitely many samples: IRS_infinity times N.

    The estimate maximises the likelihood. The bounds are the ends of what one-sided tests do not reject, so that both
    together have a confidence of 1 - 2 error.

    Args:
        learned: number k of distinct training images retrieved.
        draws: number n of generated images.
        train_size: number N of training images; no bound exceeds it.
        error: level of each one-sided test.

    Returns:
        Lower bound (smallest s with P(K >= k | s) >= error, N if there is none), estimate, and upper bound (largest
        s <= N with P(K <= k | s) >= error), as numbers of images.

    Raises:
        ValueError: ``learned`` is not between 1 and the smaller of the others, or the error outside (0, 1).
    """
    _check_counts(train_size, draws)
    _check_error(error)
    if not 1 <= learned <= min(draws, train_size):
        raise ValueError(
            f"{learned} distinct images cannot be retrieved by {draws} samples from {train_size} training images: "
            f"expected between 1 and {min(draws, train_size)}."
        )

    # P(K >= k) >= error means P(K <= k - 1) <= 1 - error: both bounds are where a falling probability crosses a level.
    below = _last_support(learned - 1, draws, learned, train_size, 1 - error, operator.gt)
    upper = _last_support(learned, draws, learned, train_size, error, operator.ge)
    return min(below + 1, train_size), _most_likely_support(learned, draws, train_size), upper


def _distinct_count(support: int, draws: int) -> tuple[int, NDArray[np.float64]]:
    """Smallest k kept and P(K = k), P(K = k + 1), ... of the occupancy distribution."""
    _check_counts(support, draws)
    counts = np.arange(min(support, draws) + 1)
    seen, unseen = counts / support, (support - counts) / support
    first, probabilities = 0, np.ones(1)
    for draw in range(draws):
        window = slice(first, first + len(probabilities))
        following = np.zeros(len(probabilities) + 1)
        np.multiply(probabilities, seen[window], out=following[:-1])
        following[1:] += probabilities * unseen[window]
        # At k = s no draw can be new, and the next entry is exactly zero.
        probabilities = following[: len(counts) - first]
        if draw % _TRIM_INTERVAL == 0 or draw == draws - 1:
            kept = np.flatnonzero(probabilities > _NEGLIGIBLE)
            first, probabilities = first + int(kept[0]), probabilities[kept[0] : kept[-1] + 1]
    return first, probabilities


def _most_likely_support(learned: int, draws: int, train_size: int) -> int:
    """The s of largest likelihood P(K = k | s); S(n, k) cancels in the ratio of neighbours."""
    if learned == draws:
        return train_size
    low, high = learned, train_size
    while low < high:
        support = (low + high) // 2
        growth = -math.log1p(-learned / (support + 1)) - draws * math.log1p(1 / support)
        low, high = (low, support) if growth <= 0 else (support + 1, high)
    return low


def _last_support(
    count: int, draws: int, low: int, high: int, level: float, exceeds: Callable[[float, float], bool]
) -> int:
    """Largest s in [low, high] at which P(K <= count | s), falling with s, exceeds a level; low - 1 if none does."""
    # Each probability costs a whole distribution. The normal approximation, corrected by its error at the last exact
    # one, chooses where to look; after a few steps every other one halves the bracket, in case that does not settle.
    low, high = low - 1, high + 1
    correction, steps = 0.0, 0
    while high - low > 1:
        support = (low + high) // 2
        if steps < _GUIDED_STEPS or steps % 2:
            support = _approximate_support(count, draws, low + 1, high - 1, float(ndtri(level)) - correction)
        first, probabilities = _distinct_count(support, draws)
        probability = float(probabilities[: max(0, count - first + 1)].sum())
        low, high = (support, high) if exceeds(probability, level) else (low, support)
        shift = float(ndtri(probability)) - _normal_quantile(count, draws, support)
        correction = shift if math.isfinite(shift) else 0.0
        steps += 1
    return low


def _approximate_support(count: int, draws: int, low: int, high: int, quantile: float) -> int:
    """Largest s in [low, high] at which the normal approximation of P(K <= count | s) has at least this quantile."""
    while low < high:
        support = (low + high + 1) // 2
        enough = _normal_quantile(count, draws, support) >= quantile
        low, high = (support, high) if enough else (low, support - 1)
    return low


def _normal_quantile(count: int, draws: int, support: int) -> float:
    """Standard normal quantile of P(K <= count) for normal K, with the continuity correction."""
    mean, variance = distinct_count_moments(support, draws)
    return (count + 0.5 - mean) / math.sqrt(variance) if variance else math.copysign(math.inf, count + 0.5 - mean)


def _check_counts(support: int, draws: int) -> None:
    if support < 1 or draws < 0:
        raise ValueError(
            f"Expected a support of at least 1 and no negative number of draws, got {support} and {draws}."
        )


def _check_error(error: float) -> None:
    if not 0 < error < 1:
        raise ValueError(f"The error must lie between 0 and 1, such as 0.05, got {error}.")
