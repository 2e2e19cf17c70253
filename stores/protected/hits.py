"""Results of a search in a Protected Index: pairs inside a radius, measured from the vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...kernels.shields.projection import SURFACE

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

VALUES_AT_ONCE = 1 << 17
"""Values of candidates compared at once: half a megabyte of float32, which stays in the processor's cache."""

Reader = Callable[[Integers], NDArray[np.float32]]
"""Returns a copy of the references (n, D) of these numbers, which may repeat."""


@dataclass(frozen=True)
class Hits:
    """Every pair (query, reference) inside a radius.

    Attributes:
        rows: numbers of the queries, shape (M,), int64.
        references: numbers of the references, shape (M,), int64.
        distances: L2 distance, shape (M,), float32.
        numbers: the distinct references, ascending, shape (K,), int64.
        vectors: these references, shape (K, D), float32.
    """

    rows: Tensor
    references: Tensor
    distances: Tensor
    numbers: Tensor
    vectors: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def among(cls, rows: Integers, numbers: Integers, distances: Floats, radius: float, read: Reader) -> Hits:
        """The measured pairs that are inside, sorted by query and then by reference."""
        inside = np.flatnonzero(distances < surface(radius))
        inside = inside[np.lexsort((numbers[inside], rows[inside]))]
        distinct = np.unique(numbers[inside])
        return cls(
            torch.from_numpy(rows[inside]),
            torch.from_numpy(numbers[inside]),
            in_float32(distances[inside]),
            torch.from_numpy(distinct),
            torch.from_numpy(read(distinct)),
        )


def surface(radius: float) -> float:
    """The radius plus the tolerance of float32."""
    return radius * (1 + SURFACE)


def measured(points: NDArray[np.float32], rows: Integers, numbers: Integers, read: Reader) -> Floats:
    """Distances of pairs (row of the points, reference), shape (M,), from differences summed in float64."""
    distances = np.empty(len(rows))
    step = max(1, VALUES_AT_ONCE // points.shape[1])
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        differences = read(numbers[part])
        differences -= points.take(rows[part], axis=0)
        distances[part] = torch.linalg.vector_norm(torch.from_numpy(differences), dim=1, dtype=torch.float64).numpy()
    return distances


def in_float32(distances: Floats) -> Tensor:
    """Distances in float32; infinity beyond its range."""
    return torch.from_numpy(distances).float()
