"""Typical distance between unrelated images: the unit of radii in settings."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def typical_distance(latents: Tensor) -> float:
    """Expected L2 distance between two unrelated images with the contrast of these.

    Two independent latents with the same deviation from their channel means are sqrt(2) times its L2 norm apart.
    Unlike a median of pairwise distances it needs one image only, and does not shrink when the images are similar.

    Args:
        latents: shape (N, C, ...), any floating dtype; rows that are not finite are left out.

    Returns:
        The root mean square over the images, in the units of the latents; 0 without images.
    """
    rows = latents.flatten(2).to(torch.promote_types(latents.dtype, torch.float32))
    spread = (rows - rows.mean(2, keepdim=True)).square().sum((1, 2))
    spread = spread[spread.isfinite()]
    return math.sqrt(2 * spread.mean().item()) if len(spread) else 0.0
