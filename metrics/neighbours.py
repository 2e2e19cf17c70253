"""The nearest reference of every item: what retrieval means in the Image Retrieval Score (arXiv 2411.16171)."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..kernels.similarity import unit_rows

Metric = Literal["euclidean", "cosine"]

# Candidates that are measured again from their difference: a matrix product cannot rank near ties.
_CANDIDATES = 4
# Queries searched at once, and numbers of one block of distances: 64 MB of float32.
_QUERY_CHUNK = 4096
_BLOCK_BUDGET = 1 << 24
# Cells that an approximate search looks into, of about 4 sqrt(N).
_PROBES = 16
# References a cell from which the cells are learned, and rounds of learning.
_TRAINING_PER_CELL = 40
_TRAINING_ROUNDS = 8


def nearest(references: Tensor, queries: Tensor, metric: Metric = "euclidean", exact: bool = True) -> Tensor:
    """Index of the nearest reference of every query.

    Faiss searches where it is installed, PyTorch otherwise. An exact search compares all pairs; an approximate one
    (Faiss IndexIVFFlat) only looks where neighbours are likely and finds another near neighbour now and then.

    Args:
        references: (N, d) features, N at least 1.
        queries: (n, d) features.
        metric: Euclidean distances of the features as they are, or of their directions.
        exact: compare all pairs.

    Returns:
        (n,) int64 indices; of equally near references the first, as long as there are no more than four.

    Raises:
        ValueError: no references, features of different sizes or not finite, or an approximate search without Faiss.
    """
    references, queries = _checked(references, "references"), _checked(queries, "queries")
    if not len(references):
        raise ValueError("Nothing can be retrieved from an empty reference set.")
    if references.shape[1] != queries.shape[1]:
        raise ValueError(
            f"References have {references.shape[1]} features and queries {queries.shape[1]}: extract both alike."
        )
    if metric == "cosine":
        references, queries = unit_rows(references), unit_rows(queries)
    candidates = _search(references, queries, min(_CANDIDATES, len(references)), exact)
    return _closest(references, queries, candidates)


def _search(references: Tensor, queries: Tensor, count: int, exact: bool) -> Tensor:
    """(n, count) indices of near references; -1 where an approximate search found fewer."""
    try:
        import faiss
    except ModuleNotFoundError as error:
        if not exact:
            raise ValueError(f"An approximate search needs {error.name}: pip install faiss-cpu brings it.") from error
        return _search_in_blocks(references, queries, count)
    index: Any = faiss.IndexFlatL2(references.shape[1])
    base = np.ascontiguousarray(references.numpy())
    if not exact:
        cells = max(1, min(4 * math.isqrt(len(base)), len(base)))
        index = faiss.IndexIVFFlat(index, base.shape[1], cells)
        index.nprobe = _PROBES
        index.cp.niter = _TRAINING_ROUNDS
        index.cp.max_points_per_centroid = _TRAINING_PER_CELL
        index.cp.min_points_per_centroid = 1
        index.train(base)
    index.add(base)
    found = [index.search(np.ascontiguousarray(chunk.numpy()), count)[1] for chunk in queries.split(_QUERY_CHUNK)]
    return torch.from_numpy(np.concatenate(found)) if found else torch.zeros(0, count, dtype=torch.int64)


def _search_in_blocks(references: Tensor, queries: Tensor, count: int) -> Tensor:
    """The same with PyTorch alone."""
    squares = references.square().sum(1)
    step = max(1, _BLOCK_BUDGET // len(references))
    found = [
        torch.addmm(squares, chunk, references.T, alpha=-2).topk(count, largest=False).indices
        for chunk in queries.split(step)
    ]
    return torch.cat(found) if found else torch.zeros(0, count, dtype=torch.int64)


def _closest(references: Tensor, queries: Tensor, candidates: Tensor) -> Tensor:
    """The candidate with the smallest difference, and of equally near ones the first reference."""
    closest = []
    for chunk, indices in zip(queries.split(_QUERY_CHUNK), candidates.split(_QUERY_CHUNK), strict=True):
        indices = indices.sort(1).values
        distances = (references[indices.clamp_min(0)] - chunk[:, None]).square().sum(2)
        best = distances.masked_fill(indices < 0, math.inf).argmin(1, keepdim=True)
        closest.append(indices.gather(1, best).squeeze(1))
    return torch.cat(closest) if closest else candidates.new_zeros(0)


def _checked(features: Tensor, kind: str) -> Tensor:
    features = torch.as_tensor(features)
    if features.ndim != 2 or not features.shape[1]:
        raise ValueError(f"Expected {kind} of shape (n, d), got {tuple(features.shape)}.")
    if not torch.isfinite(features).all():
        raise ValueError(f"The {kind} hold NaN or infinite features and cannot be compared.")
    return features.detach().to("cpu", torch.float32)
