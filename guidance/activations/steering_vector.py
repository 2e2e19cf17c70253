"""The steering vector from a model's own samples to a group, and the coordinate of an image along it.

The plain difference of two centroids includes what the exemplars have in common by chance, such as being darker. The
direction here suppresses the directions in which the exemplars vary (``shared_direction``). It is the same at all noise
levels: groups differ in the same direction at all of them, and at the highest too little to measure it.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ...kernels.centroids import interpolate, shared_direction
from ...stores.centroid.centroid import FeatureCentroid

DAMPING = 0.25
"""Damping of ``shared_direction``; at 1 more images reach the group, and fewer keep what is their own."""

SHIFT = 1.1
"""Largest shift of a layer at the beginning of the schedule, relative to the norm of its activation means."""

FALL = 1.5
"""The largest shift falls with this power of the remaining schedule: an image's subject is decided early."""

MAX_NORM = 32.0
"""Cap on the norm of activation means, in lengths of the vector: some networks have channels with very large means."""

MIN_LENGTH = 0.01
"""Floor for each level's length, relative to the clearest level."""

MIN_VARIATION = 0.3
"""Floor for the deviation of the samples' coordinates: a few samples may be similar by chance."""


class SteeringVector:
    """The vector from a reference to a centroid.

    Args:
        centroid: of the group.
        reference: of the model's own samples.
        layers: names of layers that both have.

    Attributes:
        knows_noise: whether the reference holds the variance due to noise, so that coordinates are corrected for it.
    """

    def __init__(self, centroid: FeatureCentroid, reference: FeatureCentroid, layers: Iterable[str]) -> None:
        self._levels, layers = centroid.sigmas, list(layers)
        self.knows_noise = all(len(reference.noise(layer).rows) for layer in layers)
        self._starts: dict[str, Tensor] = {}
        self._directions: dict[str, Tensor] = {}
        self._lengths: dict[str, Tensor] = {}
        self._trusts: dict[str, Tensor] = {}
        self._sizes: dict[str, Tensor] = {}
        # Levels are evenly spaced: each is in the middle of its part of the schedule.
        left = 1 - (torch.arange(len(self._levels)) + 0.5) / len(self._levels)
        for layer in layers:
            start = _at_levels(reference, reference.means[layer], self._levels)
            difference = centroid.means[layer] - start
            direction = shared_direction(difference.mean(0), centroid.variation(layer), DAMPING)
            lengths = difference @ direction
            lengths = lengths.clamp_min(max(MIN_LENGTH * float(lengths.max()), 1e-12))
            most = MAX_NORM * difference.norm(dim=1).max()
            self._starts[layer], self._directions[layer], self._lengths[layer] = start, direction, lengths
            self._trusts[layer] = _trusts(reference, layer, direction, lengths, self._levels)
            self._sizes[layer] = SHIFT * left**FALL * start.norm(dim=1).clamp(max=most)

    def coordinates(self, layer: str, means: Tensor, sigma: float) -> Tensor:
        """Coordinates of images along the vector: 0 at the reference, 1 at the centroid.

        Noise also moves activation means, in directions that become part of the image: along a deterministic path an
        image keeps its rank among all. Coordinates are therefore scaled to their variance without noise, and are
        comparable between noise levels.

        Args:
            layer: of the activation means.
            means: activation means, shape (B, C).
            sigma: noise level.

        Returns:
            Shape (B,).
        """
        start = interpolate(self._levels, self._starts[layer], sigma).to(means)
        length = float(interpolate(self._levels, self._lengths[layer], sigma))
        trust = float(interpolate(self._levels, self._trusts[layer], sigma))
        return trust / length * ((means - start) @ self._directions[layer].to(means))

    def shift(self, layer: str, sigma: float) -> Tensor:
        """The largest shift of a layer's activation means along the vector, shape (C,)."""
        return interpolate(self._levels, self._sizes[layer], sigma) * self._directions[layer]


def _trusts(reference: FeatureCentroid, layer: str, direction: Tensor, lengths: Tensor, levels: Tensor) -> Tensor:
    """Ratio of the coordinates' standard deviations without and with noise, at every level, (S,)."""
    variance = (reference.variation(layer) @ direction).square().sum() / lengths.mean() ** 2
    variance = variance.clamp_min(MIN_VARIATION**2)
    noise = reference.noise(layer)
    deviations = _at_levels(reference, noise.sizes, levels)
    noise_variance = (noise.rows @ direction).square().sum() * (deviations / lengths).square()
    return (variance / (variance + noise_variance)).sqrt()


def _at_levels(reference: FeatureCentroid, values: Tensor, levels: Tensor) -> Tensor:
    """Interpolate a reference's values to other noise levels, shape (S, ...)."""
    return torch.stack([interpolate(reference.sigmas, values, sigma) for sigma in levels.tolist()])
