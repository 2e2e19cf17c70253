"""Energy distances of measure quantization (Turinici, arXiv 2202.09573).

With h(x) = sqrt(|x|^2 + a^2) - a, the squared distance of two measures is E h(X - Z) - E h(X - X') / 2 -
E h(Z - Z') / 2; some authors call twice this the energy distance. To a standard Gaussian and for a = 0 it has a closed
form.
"""

from __future__ import annotations

import math
from math import comb

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import binom, gammaln, hyp1f1
from torch import Tensor

from .precision import require_finite, to_float64
from .similarity import as_rows, squared_distances

Array = NDArray[np.float64]

SMOOTHING = 1e-6
"""The published a."""

# Squared distances below this fraction of the squared norms are rounding.
_ROUNDING = 1e-14
# Rows of the larger set compared at once: 32 MB against a thousand points.
_BLOCK = 4096
# From this dimension on the squared distance is concentrated: its moments give every digit, and SciPy's hypergeometric
# function fails where its methods meet (NaN at L = 16384, r = 0.9483 sqrt(L)).
_CONCENTRATED = 1024
_MOMENTS = 10
_MAX_ITERATIONS = 60
_SLOPE_TOLERANCE = 1e-14


def huber_energy_distance(points: Tensor, samples: Tensor, smoothing: float = SMOOTHING) -> float:
    """Squared Huber-energy distance of two sets, every member of a set with equal weight.

    Args:
        points: (J, ...) members of one set.
        samples: (M, ...) members of the other, of the same size.
        smoothing: a, below which distances count less than linearly; 0 is the energy distance.

    Returns:
        At least 0 up to rounding, and 0 for equal sets.

    Raises:
        ValueError: an empty set, members of different sizes, numbers that are not finite, or a negative smoothing.
    """
    x, z = working_rows(points, "points"), working_rows(samples, "samples")
    if not 0 <= smoothing < math.inf:
        raise ValueError(f"The smoothing must be 0 or a positive number, got {smoothing}.")
    return _mean_huber(x, z, smoothing) - (_mean_huber(x, x, smoothing) + _mean_huber(z, z, smoothing)) / 2


def gaussian_energy_distance(points: Tensor) -> float:
    """Squared energy distance of a set to the standard Gaussian of its dimension, in closed form.

    Args:
        points: (J, ...) members; the dimension L is the size of one.

    Returns:
        mean xi_L(|X_j|) - mean |X_i - X_j| / 2 - xi_L(0) / sqrt(2).

    Raises:
        ValueError: no points, or points that are not finite.
    """
    x = working_rows(points, "points")
    dimension = x.shape[1]
    attraction = mean_distance(x.norm(dim=1).cpu().numpy(), dimension).mean()
    return float(attraction) - _mean_huber(x, x, 0.0) / 2 - mean_length(dimension) / math.sqrt(2)


def mean_direction(points: Tensor, others: Tensor, smoothing: float) -> Tensor:
    """Mean over the others of the gradient of h(x - other), about the direction away from it.

    Args:
        points: (J, d).
        others: (N, d).
        smoothing: a; with 0, others that coincide with a point do not count for it.

    Returns:
        (J, d), each row shorter than 1.
    """
    weights = inverse_distances(points, others, smoothing)
    return (points * weights.sum(1, keepdim=True) - weights @ others) / len(others)


def inverse_distances(points: Tensor, others: Tensor, smoothing: float) -> Tensor:
    """1 / sqrt(|x - y|^2 + a^2) of float64 rows, shape (J, N); 0 where the root is at rounding."""
    scale = points.square().sum(1, keepdim=True) + others.square().sum(1)
    squares = (scale - 2 * points @ others.T).clamp_min(0)
    far = squares + smoothing**2 > _ROUNDING * scale
    return torch.where(far, (squares + smoothing**2).rsqrt(), 0.0)


def working_rows(items: Tensor, name: str) -> Tensor:
    """Items as a matrix of float64.

    Raises:
        ValueError: there are none, or some are not finite; ``name`` is their name in the message, in the plural.
    """
    rows = to_float64(as_rows(items))
    if not rows.numel():
        raise ValueError(f"The energy distance of no {name} is not defined: give at least one.")
    return require_finite(rows, name.capitalize())


def _mean_huber(x: Tensor, y: Tensor, smoothing: float) -> float:
    total = 0.0
    for block in y.split(_BLOCK):
        total += float(((squared_distances(x, block) + smoothing**2).sqrt() - smoothing).sum())
    return total / (len(x) * len(y))


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
    for _ in range(_MAX_ITERATIONS):
        error = mean_distance_slope(radius, dimension) - slope
        if np.abs(error).max(initial=0.0) <= _SLOPE_TOLERANCE:
            break
        low, high = np.where(error < 0, radius, low), np.where(error > 0, radius, high)
        curvature = _mean_power(-1, radius, dimension + 2) - np.square(radius) * _mean_power(-3, radius, dimension + 4)
        newton = radius - np.divide(error, curvature, out=np.full_like(error, np.inf), where=curvature > 0)
        radius = np.where((newton >= low) & (newton <= high), newton, (low + high) / 2)
    return radius


def _mean_power(power: int, radius: Array, dimension: int) -> Array:
    """E|x - z|^q with |x| = r, for q = 1 in dimensions from ``_CONCENTRATED`` on, or for negative q."""
    if dimension < _CONCENTRATED:
        half, p = dimension / 2, power / 2
        scale = np.exp(p * np.log(2) + gammaln(half + p) - gammaln(half))
        return scale * hyp1f1(-p, half, -np.square(radius) / 2)
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
