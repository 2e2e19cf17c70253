"""Small latents that are equal in every process."""

from __future__ import annotations

import torch

SHAPE = (4, 3, 2)


def random_latents(count: int, seed: int = 0, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    """Latents of shape (count, *shape), equal for equal seeds."""
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))
