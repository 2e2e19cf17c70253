"""The way out of every shield when not all of them are known at the start: found ones first, then those met outside."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ...kernels.shields.field import working_points
from ...kernels.shields.projection import clear_shields
from ..references import References

ROUNDS = 64
"""How often points that were led out are searched for further shields, and led out of those too."""

Near = Callable[[Tensor, References], References]
"""Points (B, D) and the references known so far to these and all others in whose shields the points may be."""


def led_out(
    points: Tensor, radius: float, known: References, near: Near, *, in_batch: bool, movable: Tensor | None
) -> Tensor:
    """Points outside every shield, as far as there is a way; whoever promises it must look again.

    Args:
        points: shape (B, D), any floating dtype; zero where ``movable`` is.
        radius: of every shield.
        known: references to begin with.
        near: finds the others.
        in_batch: whether the points also keep the radius from one another.
        movable: shape (D,), 1 where the points may change; None for everywhere.

    Returns:
        The points in their dtype; the very same tensor where nothing had to move.
    """
    outside = points
    for _ in range(ROUNDS):
        outside = clear_shields(
            points,
            known.blocks,
            radius,
            in_batch=in_batch,
            movable=movable,
            norms=known.norms,
            transform=known.transform,
        ).estimates
        met = near(working_points(outside), known)
        if len(met) == len(known):
            break
        known = met
    return outside
