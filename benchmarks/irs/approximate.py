"""Approximate retrieval from a million references, by Faiss's IndexIVFFlat."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...metrics.measures.neighbours import ReferenceIndex

_CELLS_PER_ROOT = 2
"""Cells, as a multiple of sqrt(N)."""

_PROBES = 8
"""Cells that are searched."""

_TRAINING_PER_CELL, _TRAINING_ROUNDS = 32, 5
"""References per cell, and iterations, of the k-means that finds the cells."""


class ApproximateIndex(ReferenceIndex):
    """A reference index that at times finds another near reference than the nearest."""

    def __init__(self, references: Tensor) -> None:
        """Build the index of (N, d) features.

        Raises:
            ValueError: no references, features that are not finite, or Faiss is not installed.
        """
        super().__init__(references)
        try:
            import faiss
        except ModuleNotFoundError as error:
            raise ValueError(f"An approximate search needs {error.name}: pip install faiss-cpu brings it.") from error
        base = np.ascontiguousarray(self._references.numpy())
        cells = max(1, min(_CELLS_PER_ROOT * math.isqrt(len(base)), len(base)))
        index: Any = faiss.IndexIVFFlat(faiss.IndexFlatL2(base.shape[1]), base.shape[1], cells)
        index.nprobe = _PROBES
        index.cp.niter = _TRAINING_ROUNDS
        index.cp.max_points_per_centroid = _TRAINING_PER_CELL
        index.cp.min_points_per_centroid = 1
        index.train(base)
        index.add(base)
        self._faiss = index

    def _near(self, queries: Tensor) -> Tensor:
        return torch.from_numpy(self._faiss.search(np.ascontiguousarray(queries.numpy()), self._candidates)[1])
