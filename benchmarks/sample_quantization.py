"""Quantization of a set of samples (Turinici, arXiv 2202.09573, algorithm A2), for the digits benchmark."""

from __future__ import annotations

from torch import Tensor

from ..kernels.energy import SMOOTHING, inverse_distances, mean_direction, working_rows
from ..kernels.quantization import MAX_ITERATIONS, TOLERANCE


def quantize_samples(points: Tensor, samples: Tensor) -> Tensor:
    """Move points so that together they represent a set of samples.

    As in ``quantize_gaussian`` each iteration minimises in closed form after the concave part has been replaced by its
    tangent; the search ends when no point moves farther than 0.1 % of the samples' root mean square deviation.

    Args:
        points: starting points, (J, d); a point that starts on a sample hardly leaves it.
        samples: (M, d) the set to represent.

    Returns:
        (J, d), float64.
    """
    x, target = working_rows(points, "points"), working_rows(samples, "samples")
    shortest = TOLERANCE * (target - target.mean(0)).square().sum(1).mean().sqrt()
    for _ in range(MAX_ITERATIONS):
        weights = inverse_distances(x, target, SMOOTHING) / len(target)
        before = x
        x = (weights @ target + mean_direction(x, x, SMOOTHING)) / weights.sum(1, keepdim=True)
        if bool((x - before).norm(dim=1).max() <= shortest):
            break
    return x
