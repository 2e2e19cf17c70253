"""Measure quantization (Turinici, arXiv 2202.09573): a few points that together represent the standard Gaussian.

The points X_1..X_J minimise their energy distance to the Gaussian (algorithm A1), beside earlier points that stay
fixed. The distance is a convex function of the points minus another convex one. Each iteration replaces the second by
its tangent and minimises in closed form,

    X_i <- l_i d_i / |d_i|,    d_i = mean_k (X_i - X_k) / |X_i - X_k|,

with l_i the length at which the first function has the slope |d_i|: the distance falls in every iteration, without a
step size. ``simplex_noise`` is the limit of A1 where there are more dimensions than points.
"""

from __future__ import annotations

import math

import torch
from scipy.special import gammaincinv
from torch import Tensor

from .energy import gaussian_energy_distance, huber_energy_distance, mean_direction, radius_of_slope, working_rows

__all__ = ["gaussian_energy_distance", "huber_energy_distance", "quantize_gaussian", "simplex_noise"]

MAX_ITERATIONS = 200

TOLERANCE = 1e-3
"""The search ends when no point moves farther than this times the square root of the dimension."""


def quantize_gaussian(
    points: Tensor, fixed: Tensor | None = None, *, keep_norms: bool = False, max_iterations: int = MAX_ITERATIONS
) -> Tensor:
    """Move points so that they represent a standard Gaussian together (algorithm A1).

    The minimiser is shorter than Gaussian samples, by about sqrt((J - 1) / (J + 1)) for J points. With ``keep_norms``
    every point stays on its sphere. The iteration commutes with rotations, so each single result then has exactly the
    distribution of its start if the starts are Gaussian.

    Args:
        points: starting points, (J, ...), such as independent Gaussian samples. Coincident points stay coincident.
        fixed: (N, ...) earlier points that do not move and count like the others.
        keep_norms: whether points keep their distance from the origin.
        max_iterations: of the search.

    Returns:
        Shape, dtype and device of the points.

    Raises:
        ValueError: no points, or points of different sizes or that are not finite.
    """
    start = x = working_rows(points, "points")
    others = start[:0] if fixed is None or not len(fixed) else working_rows(fixed, "fixed points").to(start)
    if others.shape[1] != start.shape[1]:
        raise ValueError(f"The fixed points have {others.shape[1]} numbers each and the points {start.shape[1]}.")
    norms = start.norm(dim=1)
    shortest = TOLERANCE * math.sqrt(start.shape[1])
    for _ in range(max_iterations):
        direction = mean_direction(x, torch.cat([x, others]), 0.0)
        slope = direction.norm(dim=1)
        length = norms if keep_norms else torch.from_numpy(radius_of_slope(slope.cpu().numpy(), x.shape[1])).to(x)
        moved = (length / slope.clamp_min(torch.finfo(x.dtype).tiny))[:, None] * direction
        before, x = x, torch.where(slope[:, None] > 0, moved, x if keep_norms else torch.zeros_like(x))
        if float((x - before).square().sum(1).max()) <= shortest**2:
            break
    return x.view(points.shape).to(points)


def simplex_noise(noise: Tensor) -> Tensor:
    """Spread independent noises to a regular simplex: (x_j - mean) sqrt(J / (J - 1)).

    Each noise keeps exactly its distribution N(0, I). Any two have correlation -1 / (J - 1) in every coordinate, the
    lowest that J can have: their distance grows by sqrt(J / (J - 1)). Two noises become each other's negative.

    Args:
        noise: (J, ...) independent Gaussian noises.

    Returns:
        Shape and dtype of the noise; a single noise is returned as it is.

    Raises:
        ValueError: no noise.
    """
    count = len(noise)
    if not count:
        raise ValueError("A set of noises needs at least one.")
    if count == 1:
        return noise
    rows = noise.to(torch.promote_types(noise.dtype, torch.float32))
    return ((rows - rows.mean(0)) * math.sqrt(count / (count - 1))).to(noise.dtype)


def stratified_chi_radii(count: int, dimension: int, generator: torch.Generator) -> Tensor:
    """Norms of ``count`` samples of N(0, I), stratified: one in each of as many equally likely ranges.

    The ranges are in random order, so that each single norm has the chi distribution of an independent sample.

    Args:
        count: J, number of norms.
        dimension: of the samples.
        generator: a CPU generator.

    Returns:
        (J,), float64.
    """
    ranges = torch.randperm(count, generator=generator).double()
    inside = torch.rand(count, generator=generator, dtype=torch.float64)
    return torch.from_numpy(2 * gammaincinv(dimension / 2, ((ranges + inside) / count).numpy())).sqrt()
