"""The nearest reference of every item: what retrieval means in the Image Retrieval Score (arXiv 2411.16171)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ...kernels.similarity import unit_rows

Metric = Literal["euclidean", "cosine"]

# Candidates measured from their differences: a matrix product cannot rank near ties.
_CANDIDATES = 4
# Queries searched at once, and numbers of one block of distances: 64 MB of float32.
_QUERY_CHUNK = 4096
_BLOCK_BUDGET = 1 << 24


class ReferenceIndex:
    """Exact search for the nearest reference: every query is compared with all references."""

    def __init__(self, references: Tensor, metric: Metric = "euclidean") -> None:
        """Build the index.

        Args:
            references: (N, d) features, N at least 1.
            metric: "euclidean", or "cosine" for Euclidean distances of unit vectors.

        Raises:
            ValueError: no references, or features that are not finite.
        """
        references = _checked(references, "references")
        if not len(references):
            raise ValueError("Nothing can be retrieved from an empty reference set.")
        self._directions_only = metric == "cosine"
        self._references = unit_rows(references) if self._directions_only else references
        self._candidates = min(_CANDIDATES, len(references))

    def nearest(self, queries: Tensor) -> Tensor:
        """Index of the nearest reference of every query.

        Args:
            queries: (n, d) features.

        Returns:
            (n,) int64; of up to four equally near references the first.

        Raises:
            ValueError: features of another size or not finite.
        """
        queries = _checked(queries, "queries")
        if self._references.shape[1] != queries.shape[1]:
            raise ValueError(
                f"References have {self._references.shape[1]} features and queries {queries.shape[1]}: "
                "extract both alike."
            )
        if self._directions_only:
            queries = unit_rows(queries)
        found = [queries.new_zeros(0, dtype=torch.int64)]
        for chunk in queries.split(_QUERY_CHUNK):
            found.append(self._closest(chunk, self._near(chunk)))
        return torch.cat(found)

    def _near(self, queries: Tensor) -> Tensor:
        """(n, candidates) indices of near references."""
        squares = self._references.square().sum(1)
        step = max(1, _BLOCK_BUDGET // len(self._references))
        return torch.cat(
            [
                torch.addmm(squares, part, self._references.T, alpha=-2).topk(self._candidates, largest=False).indices
                for part in queries.split(step)
            ]
        )

    def _closest(self, queries: Tensor, candidates: Tensor) -> Tensor:
        """The candidate with the smallest difference; of equal ones the first."""
        candidates = candidates.sort(1).values
        distances = (self._references[candidates.clamp_min(0)] - queries[:, None]).square().sum(2)
        best = distances.masked_fill(candidates < 0, math.inf).argmin(1, keepdim=True)
        return candidates.gather(1, best).squeeze(1)


def _checked(features: Tensor, kind: str) -> Tensor:
    features = torch.as_tensor(features)
    if features.ndim != 2 or not features.shape[1]:
        raise ValueError(f"Expected {kind} of shape (n, d), got {tuple(features.shape)}.")
    if not torch.isfinite(features).all():
        raise ValueError(f"The {kind} hold NaN or infinite features and cannot be compared.")
    return features.detach().to("cpu", torch.float32)
