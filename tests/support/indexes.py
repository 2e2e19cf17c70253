"""Protected Indexes for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from diversity_guidance.stores.protected.builder import IndexBuilder
from diversity_guidance.stores.protected.index import ProtectedIndex
from torch import Tensor


def built(folder: Path, vectors: Tensor, space: str, names: Sequence[str] | None = None) -> ProtectedIndex:
    """An index of these vectors (N, ...), called ``0.png``, ``1.png`` and so on unless said otherwise."""
    with IndexBuilder(folder, space, tuple(vectors.shape[1:])) as builder:
        builder.append(vectors, [f"{row}.png" for row in range(len(vectors))] if names is None else names)
        builder.finish()
    return ProtectedIndex.open(folder)
