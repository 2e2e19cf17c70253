"""The way from what a model draws by itself to a group: which features lead there, and how far a picture has come.

Channel means tell the place of a picture well, but shifting them by the plain difference of two centroids takes along
whatever else the exemplars happen to be on average, such as darker. The direction here leaves out in what the exemplars
differ from one another (``shared_direction``). It is one for all noise levels: groups differ alike at all of them, and
at the highest by too little to tell how.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ..kernels.centroids import interpolated, shared_direction
from ..stores.feature_centroid import FeatureCentroid

DAMPING = 0.3
"""Of ``shared_direction``: at 1 more pictures reach the group and fewer of them keep what is their own."""

SHIFT = 0.3
"""Largest shift of a layer, relative to the norm of its mean features."""

LARGEST_STEP = 4.0
"""Largest shift of a layer, as a multiple of the way itself: some networks have channels with enormous means."""

FAINTEST = 0.01
"""Share of the way at its clearest noise level below which no level's own way is taken to be."""


class Way:
    """From a reference to a centroid.

    Args:
        centroid: of the group.
        reference: of what the model draws by itself.
        layers: names of layers that both have.
    """

    def __init__(self, centroid: FeatureCentroid, reference: FeatureCentroid, layers: Iterable[str]) -> None:
        self._levels = centroid.sigmas
        self._starts: dict[str, Tensor] = {}
        self._directions: dict[str, Tensor] = {}
        self._lengths: dict[str, Tensor] = {}
        self._sizes: dict[str, Tensor] = {}
        for layer in layers:
            means = reference.means[layer]
            start = torch.stack([interpolated(reference.sigmas, means, sigma) for sigma in self._levels.tolist()])
            difference = centroid.means[layer] - start
            direction = shared_direction(difference.mean(0), centroid.variation(layer), DAMPING)
            lengths = difference @ direction
            longest = LARGEST_STEP * difference.norm(dim=1).max()
            self._starts[layer], self._directions[layer] = start, direction
            self._lengths[layer] = lengths.clamp_min(max(FAINTEST * float(lengths.max()), 1e-12))
            self._sizes[layer] = (SHIFT * start.norm(dim=1)).clamp(max=longest)

    def places(self, layer: str, means: Tensor, sigma: float) -> Tensor:
        """How far pictures have come: 0 at the reference, 1 at the centroid.

        Args:
            layer: where their features are measured.
            means: channel means, shape (B, C).
            sigma: noise level.

        Returns:
            Shape (B,).
        """
        start = interpolated(self._levels, self._starts[layer], sigma).to(means)
        length = float(interpolated(self._levels, self._lengths[layer], sigma))
        return (means - start) @ self._directions[layer].to(means) / length

    def shift(self, layer: str, sigma: float) -> Tensor:
        """The largest shift of a layer's channel means that leads along the way, shape (C,)."""
        return interpolated(self._levels, self._sizes[layer], sigma) * self._directions[layer]
