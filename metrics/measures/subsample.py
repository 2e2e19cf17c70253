"""Which pictures a measure of quadratic cost looks at when there are very many."""

from __future__ import annotations

import torch
from torch import Tensor

QUADRATIC_LIMIT = 30_000
"""Pictures up to which every pair is compared: about half a minute on one core with 512 features."""


def sample_rows(count: int, limit: int = QUADRATIC_LIMIT) -> Tensor:
    """Indices of all items, or of a random choice that is the same every time.

    Args:
        count: of the items.
        limit: how many may be chosen.

    Returns:
        Sorted int64 indices, at most ``limit``.
    """
    if count <= limit:
        return torch.arange(count)
    generator = torch.Generator().manual_seed(0)
    return torch.randperm(count, generator=generator)[:limit].sort().values


def sample_note(used: int, count: int) -> str:
    """A sentence that says so where a sample was used, else nothing."""
    return "" if used == count else f"Measured on a random choice of {used:,} of {count:,} images."
