"""Huber-energy measure quantization (Turinici, arXiv 2202.09573): a few points that stand for a measure together.

The points X_1..X_J minimise their Huber-energy distance to the measure: a standard Gaussian (algorithm A1) or a set of
samples (algorithm A2), beside points that are drawn already and stay. The distance is a convex function of the points
minus another, so each turn replaces the second by its tangent and has a minimum in closed form: the distance falls in
every turn, without a step size. ``simplex_noise`` is what A1 tends to where there are more dimensions than points.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from scipy.special import gammaincinv
from torch import Tensor

from .energy import (
    SMOOTHING,
    check_smoothing,
    gaussian_energy_distance,
    gaussian_energy_gradient,
    huber_energy_distance,
    huber_energy_gradient,
    inverse_distances,
    mean_direction,
    radius_of_slope,
    working_rows,
)

__all__ = [
    "gaussian_energy_distance",
    "gaussian_energy_gradient",
    "huber_energy_distance",
    "huber_energy_gradient",
    "quantize_gaussian",
    "quantize_samples",
    "simplex_noise",
]

TURNS = 200
TOLERANCE = 1e-3
"""The search ends when no point moves farther than this, relative to the square root of the dimension."""


def quantize_gaussian(
    points: Tensor,
    drawn: Tensor | None = None,
    *,
    keep_norms: bool = False,
    turns: int = TURNS,
    tolerance: float = TOLERANCE,
) -> Tensor:
    """Move points so that they represent a standard Gaussian together (algorithm A1).

    The minimiser is shorter than Gaussian points are, by about sqrt((J - 1) / (J + 1)) for J points. With
    ``keep_norms`` every point stays on its sphere: starting from Gaussian points, and rotations being all alike to the
    search, each single result then has exactly the law of its start.

    Args:
        points: (J, ...) where to begin, such as independent Gaussian draws. Points that coincide stay together.
        drawn: (N, ...) points drawn earlier, which stay and count like the others.
        keep_norms: whether points keep their distance from the origin.
        turns: of the search, at most.
        tolerance: see ``TOLERANCE``.

    Returns:
        Shape, dtype and device of the points.

    Raises:
        ValueError: no points, points of different sizes or that are not finite.
    """
    start = working_rows(points, "points")
    fixed = _fixed(drawn, start)
    norms = start.norm(dim=1)

    def turn(x: Tensor) -> Tensor:
        push = mean_direction(x, torch.cat([x, fixed]), 0.0)
        slope = push.norm(dim=1)
        if keep_norms:
            length = norms
        else:
            radius = radius_of_slope(slope.cpu().numpy(), x.shape[1])
            length = torch.from_numpy(radius).to(x)
        moved = (length / slope.clamp_min(torch.finfo(x.dtype).tiny))[:, None] * push
        return torch.where(slope[:, None] > 0, moved, x if keep_norms else torch.zeros_like(x))

    return _search(start, turn, turns, tolerance * math.sqrt(start.shape[1])).view(points.shape).to(points)


def quantize_samples(
    points: Tensor,
    samples: Tensor,
    drawn: Tensor | None = None,
    *,
    smoothing: float = SMOOTHING,
    turns: int = TURNS,
    tolerance: float = TOLERANCE,
) -> Tensor:
    """Move points so that they represent a set of samples together (algorithm A2).

    Args:
        points: (J, ...) where to begin; a point that begins on a sample hardly leaves it.
        samples: (M, ...) the set to represent.
        drawn: (N, ...) points drawn earlier, which stay and count like the others.
        smoothing: a of the Huber energy, above 0.
        turns: of the search, at most.
        tolerance: see ``TOLERANCE``; the unit here is the samples' root mean square deviation.

    Returns:
        Shape, dtype and device of the points.

    Raises:
        ValueError: no points or samples, sizes that differ, numbers that are not finite, or no smoothing.
    """
    start = working_rows(points, "points")
    target = _matching(samples, "samples", start)
    check_smoothing(smoothing)
    if not smoothing:
        raise ValueError("Quantising samples needs a smoothing above 0: a point on a sample could not leave it.")
    fixed = _fixed(drawn, start)
    spread = float((target - target.mean(0)).square().sum(1).mean().sqrt())

    def turn(x: Tensor) -> Tensor:
        push = mean_direction(x, torch.cat([x, fixed]), smoothing)
        weights = inverse_distances(x, target, smoothing) / len(target)
        return (weights @ target + push) / weights.sum(1, keepdim=True)

    return _search(start, turn, turns, tolerance * spread).view(points.shape).to(points)


def simplex_noise(noise: Tensor) -> Tensor:
    """Independent noises turned into a set that keeps apart: (x_j - mean) sqrt(J / (J - 1)).

    Every noise keeps exactly its law N(0, I), and any two have correlation -1 / (J - 1) in every number, the lowest
    that J can have: their distance grows by sqrt(J / (J - 1)). Two noises become each other's negative.

    Args:
        noise: (J, ...) independent Gaussian noises.

    Returns:
        Shape and dtype of the noise; a single noise as it is.

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


def _fixed(drawn: Tensor | None, points: Tensor) -> Tensor:
    return points[:0] if drawn is None or not len(drawn) else _matching(drawn, "points drawn earlier", points)


def _matching(items: Tensor, name: str, points: Tensor) -> Tensor:
    rows = working_rows(items, name).to(points)
    if rows.shape[1] != points.shape[1]:
        raise ValueError(
            f"The {name} have {rows.shape[1]} numbers each and the points {points.shape[1]}: give sets of one space."
        )
    return rows


def _search(x: Tensor, turn: Callable[[Tensor], Tensor], turns: int, shortest: float) -> Tensor:
    """Repeat a turn until no point moves farther than ``shortest``."""
    for _ in range(turns):
        before, x = x, turn(x)
        if float((x - before).square().sum(1).max()) <= shortest**2:
            break
    return x


def stratified_lengths(count: int, dimension: int, generator: torch.Generator) -> Tensor:
    """Lengths of ``count`` vectors from N(0, I) of this dimension, one from each of as many equally likely ranges.

    Which one gets which range is random, so that every single length has the law of an independent draw.

    Args:
        count: of vectors, J.
        dimension: of each.
        generator: a CPU generator.

    Returns:
        (J,) lengths, float64.
    """
    ranges = torch.randperm(count, generator=generator).double()
    inside = torch.rand(count, generator=generator, dtype=torch.float64)
    return torch.from_numpy(2 * gammaincinv(dimension / 2, ((ranges + inside) / count).numpy())).sqrt()
