"""Hostile references and queries, and indexes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diversity_guidance.stores.protected.builder import IndexBuilder
from diversity_guidance.stores.protected.index import ProtectedIndex
from torch import Tensor

SPACE = "latent:SD3"


def references(kind: str, count: int, width: int, seed: int) -> Tensor:
    """References, float32 (count, width), as half precision stores them."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((count, width))
    if kind == "clusters":
        centres = 30 * rng.standard_normal((max(1, count // 20), width))
        values = centres[rng.integers(len(centres), size=count)] + 0.01 * values
    elif kind == "duplicates":
        values = values[rng.integers(max(1, count // 5), size=count)]
    elif kind == "equal":
        values[:] = values[0]
    elif kind == "huge":
        values = np.clip(values * 2e4, -6e4, 6e4)
    elif kind == "tiny":
        values *= 1e-6
    elif kind == "huge and tiny":
        values *= np.where(rng.random((count, 1)) < 0.1, 1e4, 1e-4)
    elif kind == "a line":
        values = values[:, :1] * rng.standard_normal(width)
    elif kind == "flat":
        values[:, width // 2 :] = 3.25
    return torch.from_numpy(values.astype(np.float16).astype(np.float32))


KINDS = ("normal", "clusters", "duplicates", "equal", "huge", "tiny", "huge and tiny", "a line", "flat")


def queries(near: Tensor, count: int, seed: int) -> Tensor:
    """Queries, float32 (count, D): at references, near them, between them, and far from all."""
    rng = torch.Generator().manual_seed(seed)
    picked = near[torch.randint(len(near), (count,), generator=rng)]
    other = near[torch.randint(len(near), (count,), generator=rng)]
    noise = torch.randn(picked.shape, generator=rng) * (near.std(unbiased=False) + 1e-3)
    ways = [picked, picked + 0.01 * noise, (picked + other) / 2, picked + noise, 1e3 * noise]
    return torch.stack([ways[row % len(ways)][row] for row in range(count)])


def exact_distances(points: Tensor, vectors: Tensor) -> Tensor:
    """Distances of all pairs, from differences in float64, (B, N)."""
    return torch.stack([(point.double() - vectors.double()).norm(dim=1) for point in points])


def build(
    folder: Path, vectors: Tensor, shape: tuple[int, ...] | None = None, shard_bytes: int = 4096
) -> ProtectedIndex:
    """An index of these vectors, named by their numbers."""
    shape = shape or (vectors.shape[1],)
    with IndexBuilder(folder, SPACE, shape, shard_bytes=shard_bytes) as builder:
        builder.append(vectors.view(-1, *shape), [str(number) for number in range(len(vectors))])
        builder.finish()
    return ProtectedIndex.open(folder)
