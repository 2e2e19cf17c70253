"""Huber-energy distance and its gradients of measure quantization (Turinici, arXiv 2202.09573).

With h(x) = sqrt(|x|^2 + a^2) - a, the squared distance of two measures is E h(X - Z) - E h(X - X') / 2 -
E h(Z - Z') / 2; some authors call twice this the energy distance. To a standard Gaussian and for a = 0 it has a closed
form.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .mean_distance import mean_distance, mean_distance_slope, mean_length
from .precision import require_finite, to_float64
from .similarity import as_rows, squared_distances

SMOOTHING = 1e-6
"""The published a."""

# Squared distances below this share of the squared norms are rounding.
_ROUNDING = 1e-14
# Rows of the larger set that are compared at once: 32 MB against a thousand points.
_BLOCK = 4096


def huber_energy_distance(points: Tensor, samples: Tensor, smoothing: float = SMOOTHING) -> float:
    """Squared Huber-energy distance of two sets, every member of a set with equal weight.

    Args:
        points: (J, ...) members of one set.
        samples: (M, ...) members of the other, of the same size.
        smoothing: a, below which distances count less than linearly; 0 is the energy distance.

    Returns:
        At least 0 up to rounding, and 0 for equal sets.

    Raises:
        ValueError: an empty set, members of different sizes or that are not finite, a negative smoothing.
    """
    x, z = working_rows(points, "points"), working_rows(samples, "samples")
    check_smoothing(smoothing)
    return _mean_huber(x, z, smoothing) - (_mean_huber(x, x, smoothing) + _mean_huber(z, z, smoothing)) / 2


def huber_energy_gradient(points: Tensor, samples: Tensor, smoothing: float = SMOOTHING) -> Tensor:
    """Gradient of ``huber_energy_distance`` in the points; arguments as there.

    Returns:
        Shape of the points, float64. Points that coincide do not push each other.
    """
    x, z = working_rows(points, "points"), working_rows(samples, "samples")
    check_smoothing(smoothing)
    pull = _mean_direction(x, z, smoothing) / len(x)
    return (pull - mean_direction(x, x, smoothing) / len(x)).view(points.shape)


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


def gaussian_energy_gradient(points: Tensor) -> Tensor:
    """Gradient of ``gaussian_energy_distance`` in the points; arguments as there.

    Returns:
        Shape of the points, float64. Points that coincide do not push each other.
    """
    x = working_rows(points, "points")
    radius = x.norm(dim=1)
    slope = torch.from_numpy(mean_distance_slope(radius.cpu().numpy(), x.shape[1])).to(x)
    outwards = x / radius.clamp_min(torch.finfo(x.dtype).tiny)[:, None]
    return ((slope[:, None] * outwards - mean_direction(x, x, 0.0)) / len(x)).view(points.shape)


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
    """(J, N) numbers 1 / sqrt(|x - y|^2 + a^2) of float64 rows, 0 where that divides by no more than rounding."""
    scale = points.square().sum(1, keepdim=True) + others.square().sum(1)
    squares = (scale - 2 * points @ others.T).clamp_min(0)
    far = squares + smoothing**2 > _ROUNDING * scale
    return torch.where(far, (squares + smoothing**2).rsqrt(), 0.0)


def working_rows(items: Tensor, name: str) -> Tensor:
    """Items as a matrix of float64.

    Raises:
        ValueError: there is none, or some are not finite; ``name`` says what they are, in the plural.
    """
    rows = to_float64(as_rows(items))
    if not rows.numel():
        raise ValueError(f"The energy distance of no {name} is not defined: give at least one.")
    return require_finite(rows, name.capitalize())


def check_smoothing(smoothing: float) -> None:
    """Refuse a smoothing that is none.

    Raises:
        ValueError: it is negative or not finite.
    """
    if not 0 <= smoothing < math.inf:
        raise ValueError(f"The smoothing must be 0 or a positive number, got {smoothing}.")


def _mean_huber(x: Tensor, y: Tensor, smoothing: float) -> float:
    total = 0.0
    for block in y.split(_BLOCK):
        total += float(((squared_distances(x, block) + smoothing**2).sqrt() - smoothing).sum())
    return total / (len(x) * len(y))


def _mean_direction(x: Tensor, z: Tensor, smoothing: float) -> Tensor:
    total = torch.zeros_like(x)
    for block in z.split(_BLOCK):
        total += mean_direction(x, block, smoothing) * len(block)
    return total / len(z)
