"""Sparse Repellency: arXiv 2410.06025 (SPELL / Shielded Diffusion), equations 5 and 8.

A shield is a ball of radius r around a reference z. An estimate x of the final picture that is inside is pushed to
its surface by ReLU(r / |x - z| - 1) (x - z); outside, the push is exactly zero, which is what makes it sparse.
``clear_shields`` is for what the paper leaves open: shields that overlap.
"""

from __future__ import annotations

from torch import Tensor

from .shields.field import batch_field, shield_field, working_points
from .shields.projection import Clearance, clear_shields
from .shields.reference_blocks import Blocks

__all__ = ["Clearance", "batch_repellency", "clear_shields", "repellency"]


def repellency(estimates: Tensor, references: Blocks, radius: float) -> Tensor:
    """Push out of the shields around fixed references (arXiv 2410.06025, equation 5).

    Args:
        estimates: estimates of x0, shape (B, ...).
        references: centres of the shields, shape (N, ...) or several such blocks; N may be 0.
        radius: of every shield, in the units of the latents.

    Returns:
        delta, shape, dtype and device of the estimates; x + delta leaves a single shield exactly to its surface.

    Raises:
        ValueError: the radius is negative or not a number, or the shapes do not fit.
    """
    field = shield_field(working_points(estimates), references, radius)
    return field.delta.view(estimates.shape).to(estimates.dtype)


def batch_repellency(estimates: Tensor, radius: float) -> Tensor:
    """Push of the members of a batch on one another (arXiv 2410.06025, equation 8).

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
    field = batch_field(working_points(estimates), radius)
    return field.delta.view(estimates.shape).to(estimates.dtype)
