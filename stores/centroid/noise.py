"""Covariance of a layer's activations under noise alone, by which differences between images are weighted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...kernels.centroids import principal_rows

MAX_ROWS = 32
"""Rows kept: few directions hold nearly all of the noise in the channel means."""


@dataclass(frozen=True, eq=False)
class FeatureNoise:
    """Covariance of a layer's activations from one noise to another: at level s it is sizes[s]^2 R^T R.

    Attributes:
        rows: R, shape (K, C), float32, whose squares add up to 1; no rows if the noise is unknown.
        sizes: root of the total variance at every noise level, shape (S,), float32.
    """

    rows: Tensor
    sizes: Tensor

    @classmethod
    def unknown(cls, levels: int, channels: int) -> FeatureNoise:
        """For a single image, and for files without it."""
        return cls(torch.zeros(0, channels), torch.zeros(levels))

    @classmethod
    def of(cls, deviations: Tensor) -> FeatureNoise:
        """From activations under a separate noise for each image, minus those under a common noise.

        Args:
            deviations: shape (S, N, C): noise levels, images, channels. Their mean over the images comes from the
                common noise and is subtracted, so that a single image gives nothing.
        """
        levels, count, channels = deviations.shape
        if count < 2:
            return cls.unknown(levels, channels)
        own = (deviations - deviations.mean(1, keepdim=True)) / (count - 1) ** 0.5
        sizes = own.flatten(1).norm(dim=1)
        rows = (own / sizes.clamp_min(1e-12)[:, None, None]).flatten(0, 1) / levels**0.5
        return cls(principal_rows(rows, MAX_ROWS), sizes)

    @classmethod
    def blended(cls, parts: Sequence[FeatureNoise], weights: Sequence[float]) -> FeatureNoise:
        """The mean covariance, with weights that add up to 1; unknown if a part with a weight is."""
        used = [(part, weight) for part, weight in zip(parts, weights, strict=True) if weight]
        if not all(len(part.rows) for part, _ in used):
            return cls.unknown(len(parts[0].sizes), parts[0].rows.shape[1])
        rows = torch.cat([weight**0.5 * part.rows for part, weight in used])
        sizes = torch.stack([weight * part.sizes.square() for part, weight in used]).sum(0).sqrt()
        return cls(principal_rows(rows, MAX_ROWS), sizes)
