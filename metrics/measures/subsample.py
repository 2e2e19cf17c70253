"""Subsamples for measures of quadratic cost."""

from __future__ import annotations

import torch
from torch import Tensor

QUADRATIC_LIMIT = 30_000
"""Largest number of images whose pairs are all compared: half a minute on one core with 512 features."""


def sample_rows(count: int, limit: int = QUADRATIC_LIMIT) -> Tensor:
    """Indices of all items, or of a reproducible random sample.

    Args:
        count: number of items.
        limit: size of the sample.

    Returns:
        Sorted int64 indices, at most ``limit``.
    """
    if count <= limit:
        return torch.arange(count)
    generator = torch.Generator().manual_seed(0)
    return torch.randperm(count, generator=generator)[:limit].sort().values


def sample_note(used: int, count: int) -> str:
    """A sentence if a sample was used, "" otherwise."""
    return "" if used == count else f"Measured on a random choice of {used:,} of {count:,} images."
