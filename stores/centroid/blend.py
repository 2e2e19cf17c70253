"""Blends of centroids: interpolated centroids generate in between (arXiv 2410.11646)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...kernels.centroids import joint_principal_rows
from .centroid import MAX_VARIATIONS, FeatureCentroid
from .noise import FeatureNoise


def check_comparable(centroids: Sequence[FeatureCentroid]) -> None:
    """Check that centroids can be blended or shown on one map.

    Raises:
        ValueError: there is none, or their models, layers or noise levels differ.
    """
    if not centroids:
        raise ValueError("Give at least one centroid.")
    first = centroids[0]
    for other in centroids[1:]:
        first.check_model(other.fingerprint, other.latent_format)
        if set(other.means) != set(first.means):
            raise ValueError(f"'{first.name}' and '{other.name}' hold other layers. Probe both with the same layers.")
        if other.sigmas.shape != first.sigmas.shape or not torch.allclose(other.sigmas, first.sigmas, rtol=1e-3):
            raise ValueError(
                f"'{first.name}' and '{other.name}' hold other noise levels. Probe both with the same number of levels."
            )


def blended(centroids: Sequence[FeatureCentroid], weights: Sequence[float], name: str) -> FeatureCentroid:
    """The weighted mean of centroids; a negative weight extrapolates.

    Args:
        centroids: of one model.
        weights: one for each; normalised to the sum 1.
        name: of the blend.

    Raises:
        ValueError: the centroids are not comparable, or the weights add up to 0.
    """
    check_comparable(centroids)
    if len(weights) != len(centroids):
        raise ValueError(f"There are {len(centroids)} centroids and {len(weights)} weights. Give one weight for each.")
    total = sum(weights)
    if not abs(total) > 1e-6 or not torch.tensor(weights).isfinite().all():
        raise ValueError(f"The weights of a blend must be numbers whose sum is not 0, not {list(weights)}.")
    signed = [weight / total for weight in weights]
    sizes = [abs(weight) / sum(map(abs, signed)) for weight in signed]
    first = centroids[0]
    means = {layer: _weighted([c.means[layer] for c in centroids], signed) for layer in first.means}
    variances = {layer: _weighted([c.spreads[layer].square() for c in centroids], sizes) for layer in first.means}
    spreads = {layer: variance.sqrt() for layer, variance in variances.items()}
    rows = {
        layer: torch.cat([size**0.5 * c.variation(layer) for c, size in zip(centroids, sizes, strict=True)])
        for layer in first.means
    }
    variations = joint_principal_rows(rows, MAX_VARIATIONS)
    noises = {layer: FeatureNoise.blended([c.noise(layer) for c in centroids], sizes) for layer in first.means}
    return FeatureCentroid(
        name, first.fingerprint, first.latent_format, first.sigmas, means, spreads, 0, variations, noises
    )


def _weighted(values: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    return sum((weight * value for weight, value in zip(weights, values, strict=True)), torch.zeros_like(values[0]))
