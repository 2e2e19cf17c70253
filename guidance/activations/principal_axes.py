"""Spread a batch along the principal axes of a model's own samples, one end of one axis for each image.

Classifier-free guidance suppresses most of the variety that a model samples without it. The principal axes of the
activation means of samples at CFG 1 describe that variety. Each image moves along an axis until it has reached a
coordinate, in standard deviations of those samples. Images that only push one another would move along directions in
which the batch differs already (docs/feature_guidance.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from ...kernels.centroids import interpolate
from ...stores.centroid.centroid import FeatureCentroid
from ..schedule import CLEAN

SHIFT = 0.9
"""Largest shift of a layer, relative to the norm of its activation means. Both passes of classifier-free guidance are
shifted, so that it does not amplify the shift."""

MAX_STEP = 8.0
"""Largest shift of a layer, as a multiple of the samples' largest deviation from their mean: some networks have huge
channel means."""

MAX_AXES = 8
"""Further axes are noise: images moved along them lose the prompt."""

OWN_EVALUATIONS = 5
"""Unsteered evaluations at the end of a run, in which images return to plausible ones (docs/feature_guidance.md)."""

MIN_DEVIATION = 0.01
"""Floor for each level's deviation, relative to the clearest level."""


class PrincipalAxes:
    """The principal axes of samples, by layer and noise level.

    Args:
        reference: the centroid of the model's own samples.
        layers: names of its layers to use.

    Raises:
        ValueError: the reference is of a single image.
    """

    def __init__(self, reference: FeatureCentroid, layers: Iterable[str]) -> None:
        self._levels = reference.sigmas
        self._starts: dict[str, Tensor] = {}
        self._directions: dict[str, Tensor] = {}
        self._deviations: dict[str, Tensor] = {}
        self._sizes: dict[str, Tensor] = {}
        for layer in layers:
            variation = reference.variation(layer)
            if not len(variation):
                raise ValueError(
                    f"The reference '{reference.name}' holds a single image, which cannot show how images differ. "
                    "Probe a batch of 16 or more, sampled at CFG 1."
                )
            rows = variation[:MAX_AXES]
            directions = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)
            # Axes are principal over all layers together: within one layer they are not orthogonal.
            lengths = (variation @ directions.T).norm(dim=0)
            totals = reference.spreads[layer].norm(dim=1)
            shares = (totals / totals.mean().clamp_min(1e-12)).clamp_min(MIN_DEVIATION)
            self._starts[layer] = reference.means[layer]
            self._directions[layer] = directions
            self._deviations[layer] = (shares[:, None] * lengths).clamp_min(1e-12)
            norms = reference.means[layer].norm(dim=1)
            self._sizes[layer] = (SHIFT * norms).clamp(max=MAX_STEP * float(totals.max()))

    def coordinates(self, layer: str, means: Tensor, sigma: float) -> Tensor:
        """Coordinate of each image towards its own end, in standard deviations of the samples.

        Args:
            layer: of the activation means.
            means: activation means of one batch, shape (B, C).
            sigma: noise level.

        Returns:
            Shape (B,).
        """
        axes, signs = self._axes_and_signs(layer, len(means))
        start = interpolate(self._levels, self._starts[layer], sigma).to(means)
        lengths = interpolate(self._levels, self._deviations[layer], sigma)[axes].to(means)
        along = ((means - start) * self._directions[layer][axes].to(means)).sum(1)
        return signs.to(means) * along / lengths

    def shift(self, layer: str, sigma: float, count: int) -> Tensor:
        """The largest shift of a layer's activation means for each of ``count`` images, shape (count, C)."""
        axes, signs = self._axes_and_signs(layer, count)
        return interpolate(self._levels, self._sizes[layer], sigma) * signs[:, None] * self._directions[layer][axes]

    def _axes_and_signs(self, layer: str, count: int) -> tuple[Tensor, Tensor]:
        """Index of each image's axis, and its sign: 1 or -1."""
        numbers = torch.arange(count)
        return numbers // 2 % len(self._directions[layer]), 1.0 - 2.0 * (numbers % 2)


def lowest_level(sigmas: Tensor) -> float:
    """The lowest noise level at which images may be shifted; infinite if the run is too short.

    Args:
        sigmas: of the run, descending, shape (S,). If the last is not clean, another run continues: 0 is returned.
    """
    if float(sigmas[-1]) > CLEAN:
        return 0.0
    last = len(sigmas) - 2 - OWN_EVALUATIONS
    return float(sigmas[last]) if last >= 0 else math.inf
