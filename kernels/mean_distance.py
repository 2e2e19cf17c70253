"""Mean distance of a standard Gaussian from a point, in any dimension (arXiv 2202.09573, in closed form for a = 0).

xi_L(r) = E|x - z| for z from N(0, I_L) and |x| = r is a moment of the noncentral chi distribution; its derivatives are
others, since the gradient of E|x - z|^q in x is q x E|x - z|^(q - 2) with the latter mean in two dimensions more.
"""

from __future__ import annotations

from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy.special import binom, gammaln, hyp1f1

Array = NDArray[np.float64]

# From this dimension on the squared distance is so concentrated that its moments give every digit, and SciPy's
# hypergeometric function has holes where its methods meet (NaN at L = 16384, r = 0.9483 sqrt(L)).
_CONCENTRATED = 1024
_MOMENTS = 10

_SEARCH_TURNS = 60
_SLOPE_TOLERANCE = 1e-14


def mean_length(dimension: int) -> float:
    """xi_L(0) = E|z|, the mean length of a standard Gaussian vector of this dimension.

    Raises:
        ValueError: the dimension is below 1.
    """
    return float(mean_distance(np.zeros(1), dimension)[0])


def mean_distance(radius: Array, dimension: int) -> Array:
    """xi_L(r) for radii r >= 0 of any shape.

    Raises:
        ValueError: the dimension is below 1.
    """
    if dimension < 1:
        raise ValueError(f"A Gaussian needs at least one dimension, got {dimension}.")
    if dimension >= _CONCENTRATED:
        return _mean_power(1, radius, dimension)
    # Kummer's M(-1/2, b, -x) by a contiguous relation: called directly it is infinite for some arguments in SciPy.
    half, x = dimension / 2, np.square(radius) / 2
    kummer = hyp1f1(0.5, half, -x) + x / half * hyp1f1(0.5, half + 1, -x)
    return np.sqrt(2) * np.exp(gammaln(half + 0.5) - gammaln(half)) * kummer


def mean_distance_slope(radius: Array, dimension: int) -> Array:
    """Derivative of xi_L at radii r >= 0: 0 at the centre, towards 1 far away.

    Raises:
        ValueError: the dimension is below 1.
    """
    if dimension < 1:
        raise ValueError(f"A Gaussian needs at least one dimension, got {dimension}.")
    return radius * _mean_power(-1, radius, dimension + 2)


def radius_of_slope(slope: Array, dimension: int) -> Array:
    """Radii at which xi_L has these slopes in [0, 1): the inverse of ``mean_distance_slope``.

    Raises:
        ValueError: the dimension is below 1.
    """
    # The slope is concave, so the tangent at the centre bounds the radius from below; xi lies above the hyperbola of
    # the same curvature, whose inverse bounds it from above and is close in all but the lowest dimensions.
    low = slope * dimension / mean_length(dimension)
    high = low / np.sqrt(1 - np.square(slope))
    radius = high
    for _ in range(_SEARCH_TURNS):
        error = mean_distance_slope(radius, dimension) - slope
        if np.abs(error).max(initial=0.0) <= _SLOPE_TOLERANCE:
            break
        low, high = np.where(error < 0, radius, low), np.where(error > 0, radius, high)
        bend = _mean_power(-1, radius, dimension + 2) - np.square(radius) * _mean_power(-3, radius, dimension + 4)
        newton = radius - np.divide(error, bend, out=np.full_like(error, np.inf), where=bend > 0)
        radius = np.where((newton >= low) & (newton <= high), newton, (low + high) / 2)
    return radius


def _mean_power(power: int, radius: Array, dimension: int) -> Array:
    """E|x - z|^q with |x| = r, for q = 1 in dimensions from ``_CONCENTRATED`` on, or for negative q."""
    if dimension < _CONCENTRATED:
        half, share = dimension / 2, power / 2
        scale = np.exp(share * np.log(2) + gammaln(half + share) - gammaln(half))
        return scale * hyp1f1(-share, half, -np.square(radius) / 2)
    # Taylor expansion about the mean of the squared distance, a noncentral chi-square variable of known cumulants.
    mean = dimension + np.square(radius)
    cumulants, factorial = [np.zeros_like(mean), np.zeros_like(mean)], 1.0
    moments = [np.ones_like(mean), np.zeros_like(mean)]
    total = np.ones_like(mean)
    for order in range(2, _MOMENTS + 1):
        factorial *= 2 * (order - 1)
        cumulants.append(factorial * (dimension + order * np.square(radius)) / mean**order)
        moments.append(
            sum(
                (comb(order - 1, k - 1) * cumulants[k] * moments[order - k] for k in range(2, order + 1)),
                np.zeros_like(mean),
            )
        )
        total = total + binom(power / 2, order) * moments[order]
    return total * mean ** (power / 2)
