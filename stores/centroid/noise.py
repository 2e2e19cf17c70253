"""How noise alone moves a layer's features: what a picture's features say at a noise level is weighed by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...kernels.centroids import principal_rows

MOST_ROWS = 32
"""Rows that are kept: few directions hold nearly all of the noise in the averages of channels."""


@dataclass(frozen=True, eq=False)
class FeatureNoise:
    """Covariance of a layer's features from one noise to another: at level s it is sizes[s]^2 R^T R.

    Attributes:
        rows: R, shape (K, C), float32, whose squares add up to 1; none where the noise is not known.
        sizes: root of the total variance at every noise level, shape (S,), float32.
    """

    rows: Tensor
    sizes: Tensor

    @classmethod
    def unknown(cls, levels: int, channels: int) -> FeatureNoise:
        """Of a single picture, and of files in which it was not kept."""
        return cls(torch.zeros(0, channels), torch.zeros(levels))

    @classmethod
    def of(cls, deviations: Tensor) -> FeatureNoise:
        """From features seen through a noise of each picture's own, less the same seen through common noise.

        Args:
            deviations: shape (S, N, C): noise levels, pictures, channels. What all pictures share is of the common
                noise, and is left out; one picture therefore says nothing.
        """
        levels, count, channels = deviations.shape
        if count < 2:
            return cls.unknown(levels, channels)
        own = (deviations - deviations.mean(1, keepdim=True)) / (count - 1) ** 0.5
        sizes = own.flatten(1).norm(dim=1)
        rows = (own / sizes.clamp_min(1e-12)[:, None, None]).flatten(0, 1) / levels**0.5
        return cls(principal_rows(rows, MOST_ROWS), sizes)

    @classmethod
    def blended(cls, parts: Sequence[FeatureNoise], weights: Sequence[float]) -> FeatureNoise:
        """The mean covariance with weights of sum 1; unknown where it is unknown of one that counts."""
        used = [(part, weight) for part, weight in zip(parts, weights, strict=True) if weight]
        if not all(len(part.rows) for part, _ in used):
            return cls.unknown(len(parts[0].sizes), parts[0].rows.shape[1])
        rows = torch.cat([weight**0.5 * part.rows for part, weight in used])
        sizes = torch.stack([weight * part.sizes.square() for part, weight in used]).sum(0).sqrt()
        return cls(principal_rows(rows, MOST_ROWS), sizes)
