"""The steering vector from a model's own samples to a group, and the coordinate of an image along it.

Channel means tell the place of an image well, but shifting them by the plain difference of two centroids takes along
whatever else the exemplars happen to be on average, such as darker. The direction here leaves out in what the exemplars
differ from one another (``shared_direction``). It is one for all noise levels: groups differ alike at all of them, and
at the highest by too little to tell how.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ...kernels.centroids import interpolate, shared_direction
from ...stores.centroid.centroid import FeatureCentroid

DAMPING = 0.25
"""Of ``shared_direction``: at 1 more images reach the group and fewer of them keep what is their own."""

SHIFT = 1.1
"""Largest shift of a layer at the beginning of the schedule, relative to the norm of its mean features."""

FALL = 1.5
"""Power of what is left of the schedule with which the largest shift falls: what an image shows is decided early."""

MAX_NORM = 32.0
"""Largest norm of mean features that counts, in lengths of the vector: some networks have channels with huge means."""

MIN_LENGTH = 0.01
"""Floor for each level's length, relative to the clearest level."""

MIN_VARIATION = 0.3
"""Floor for the deviation of the samples' coordinates: a few may be alike by chance."""


class SteeringVector:
    """From a reference to a centroid.

    Args:
        centroid: of the group.
        reference: of the model's own samples.
        layers: names of layers that both have.

    Attributes:
        knows_noise: whether the reference says what noise does to features, for which coordinates are corrected then.
    """

    def __init__(self, centroid: FeatureCentroid, reference: FeatureCentroid, layers: Iterable[str]) -> None:
        self._levels, layers = centroid.sigmas, list(layers)
        self.knows_noise = all(len(reference.noise(layer).rows) for layer in layers)
        self._starts: dict[str, Tensor] = {}
        self._directions: dict[str, Tensor] = {}
        self._lengths: dict[str, Tensor] = {}
        self._trusts: dict[str, Tensor] = {}
        self._sizes: dict[str, Tensor] = {}
        # Levels are evenly spaced over the schedule, each in the middle of its part.
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

        Noise moves features as well, and what it moves is part of what the image becomes: along a deterministic
        path an image keeps its rank among all. The coordinate is therefore scaled to the variance that coordinates have
        without noise, and the same number means the same at all noise levels.

        Args:
            layer: where their features are measured.
            means: channel means, shape (B, C).
            sigma: noise level.

        Returns:
            Shape (B,).
        """
        start = interpolate(self._levels, self._starts[layer], sigma).to(means)
        length = float(interpolate(self._levels, self._lengths[layer], sigma))
        trust = float(interpolate(self._levels, self._trusts[layer], sigma))
        return trust / length * ((means - start) @ self._directions[layer].to(means))

    def shift(self, layer: str, sigma: float) -> Tensor:
        """The largest shift of a layer's channel means along the vector, shape (C,)."""
        return interpolate(self._levels, self._sizes[layer], sigma) * self._directions[layer]


def _trusts(reference: FeatureCentroid, layer: str, direction: Tensor, lengths: Tensor, levels: Tensor) -> Tensor:
    """Standard deviation of the samples' coordinates without noise relative to that with it, at every level (S,)."""
    variance = (reference.variation(layer) @ direction).square().sum() / lengths.mean() ** 2
    variance = variance.clamp_min(MIN_VARIATION**2)
    noise = reference.noise(layer)
    deviations = _at_levels(reference, noise.sizes, levels)
    noise_variance = (noise.rows @ direction).square().sum() * (deviations / lengths).square()
    return (variance / (variance + noise_variance)).sqrt()


def _at_levels(reference: FeatureCentroid, values: Tensor, levels: Tensor) -> Tensor:
    """What a reference holds for its own noise levels, at others, shape (S, ...)."""
    return torch.stack([interpolate(reference.sigmas, values, sigma) for sigma in levels.tolist()])
