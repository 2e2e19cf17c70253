"""Sparse Repellency: arXiv 2410.06025 (SPELL / Shielded Diffusion), equations 5 and 8.

A shield is a ball of radius r around a reference z. An estimate x of the final image inside is pushed to its surface by
ReLU(r / |x - z| - 1) (x - z); outside, the push is exactly zero: the pushes are sparse.

This is what a sampling step runs, with an error of about 1e-5 of a push. What must be exact, such as the guarantee on
final latents, is in ``shields``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .shields.field import CLOSE, batch_field, check_radius, lengths, masked, pushes, working_points
from .shields.projection import ProjectionResult, project_outside
from .shields.reference_blocks import Blocks, read_chunks

__all__ = ["ProjectionResult", "batch_repellency", "distances", "project_outside", "push", "repellency"]

TOUCHING = 1e-2
"""Pairs nearer than this fraction of an estimate's norm are pushed by their difference, as a product would cancel."""


def repellency(estimates: Tensor, references: Blocks, radius: float) -> Tensor:
    """Push out of the shields around fixed references (arXiv 2410.06025, equation 5).

    Args:
        estimates: estimates of x0, shape (B, ...).
        references: centres of the shields, shape (N, ...) or several such blocks, any floating dtype; N may be 0.
        radius: of every shield, in the units of the latents.

    Returns:
        delta, shape, dtype and device of the estimates; x + delta leaves a single shield to its surface. Estimates that
        coincide with a reference leave it in a fixed direction.

    Raises:
        ValueError: the radius is negative or not a number, or the shapes do not fit.
    """
    check_radius(radius)
    x = working_points(estimates)
    delta = torch.zeros_like(x)
    for _, z in read_chunks(references, x):
        delta += push(x, z, distances(x, z), radius)
    return delta.view(estimates.shape).to(estimates.dtype)


def batch_repellency(estimates: Tensor, radius: float) -> Tensor:
    """Push among the members of a batch (arXiv 2410.06025, equation 8).

    Both members of a pair are pushed by the whole missing distance, as published; half of it brings a single pair
    exactly to the radius.

    Args:
        estimates: estimates of x0, shape (B, ...).
        radius: of the shield around every member.

    Returns:
        delta, shape, dtype and device of the estimates; it sums to zero over the batch.

    Raises:
        ValueError: the radius is negative or not a number.
    """
    return batch_field(working_points(estimates), radius).delta.view(estimates.shape).to(estimates.dtype)


def distances(
    x: Tensor, z: Tensor, squares: Tensor | None = None, mask: Tensor | None = None, own: Tensor | None = None
) -> Tensor:
    """L2 distances of estimates (B, D) to references (N, D) by one matrix product, shape (B, N).

    Args:
        x: estimates, zero where the mask is 0.
        z: references.
        squares: squared norms of the references, shape (N,), or (B, N) under a mask; computed if None.
        mask: 1 where values count and 0 elsewhere, shape (B, D). Estimates of which nothing counts are infinitely far.
        own: squared norms of the estimates, shape (B, 1); computed if None.
    """
    if squares is None:
        squares = z.square().sum(1) if mask is None else mask @ z.square().T
    scale = (x.square().sum(1, keepdim=True) if own is None else own) + squares
    found = torch.addmm(scale, x, z.T, alpha=-2)
    close = found <= CLOSE * scale
    for row in close.any(1).nonzero().flatten().tolist():
        where = None if mask is None else mask[row]
        found[row, close[row]] = lengths(masked(x[row] - z[close[row]], where)).square()
    if mask is not None:
        found[~mask.any(1)] = math.inf
    return found.sqrt()


def push(x: Tensor, z: Tensor, distances: Tensor, radius: float | Tensor, mask: Tensor | None = None) -> Tensor:
    """Sum over references of ReLU(r / |x - z| - 1) (x - z), shape (B, D).

    Args:
        x: estimates, shape (B, D), zero where the mask is 0.
        z: references, shape (N, D).
        distances: of both, shape (B, N).
        radius: one for all, or one for each estimate, shape (B, 1).
        mask: as in ``distances``.
    """
    radius = torch.as_tensor(radius, dtype=x.dtype, device=x.device).expand(len(x), 1)
    inside = distances < radius
    near = inside.any(0)
    touching = inside & (distances <= TOUCHING * x.norm(dim=1, keepdim=True))
    weights = torch.where(inside & ~touching, radius / distances - 1, 0.0)[:, near]
    delta = masked(weights.sum(1, keepdim=True) * x - weights @ z[near], mask)
    for row, column in touching.nonzero().tolist():
        where = None if mask is None else mask[row]
        difference = masked(x[row] - z[[column]], where)
        delta[row] += pushes(difference, lengths(difference), radius[row], row, [column], where)[0]
    return delta
