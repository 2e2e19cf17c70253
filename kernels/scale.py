"""How far apart unrelated pictures are: the unit in which radii are given to users."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def typical_distance(latents: Tensor) -> float:
    """L2 distance expected between two unrelated pictures that have the contrast of these.

    Two independent latents with the same spread about their channel means lie at sqrt(2) times its L2 norm. Unlike a
    median of pairwise distances this needs one picture only, and does not shrink when the pictures are alike, which
    is just when a radius is needed.

    Args:
        latents: shape (N, C, ...), any floating dtype; rows that are not finite are left out.

    Returns:
        The root mean square over the pictures, in the units of the latents; 0 where there is none.
    """
    rows = latents.flatten(2).to(torch.promote_types(latents.dtype, torch.float32))
    spread = (rows - rows.mean(2, keepdim=True)).square().sum((1, 2))
    spread = spread[spread.isfinite()]
    return math.sqrt(2 * spread.mean().item()) if len(spread) else 0.0
