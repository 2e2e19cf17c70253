"""One network for the score and for the features (arXiv 2410.11646, reconstructed).

A blind denoiser, not conditioned on the noise level. Its features are the spatial means of the channels of selected
layers. With guidance every such channel is shifted, a <- a + w (centroid - mean(a)), with a learned w: at w = 1 its
mean becomes the centroid's, at 0 it is free. The shift adds the projected score: the part that leads to the centroid.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, gelu, interpolate

from ...kernels.centroids import channel_means

WIDTH = 24


class GuidedLayer(nn.Module):
    """Convolution, normalisation, nonlinearity, and the shift of the channel means."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.normalisation = nn.GroupNorm(1, outputs)
        self.weight = nn.Parameter(torch.full((outputs,), 0.5))

    def forward(self, x: Tensor, centroid: Tensor | None) -> tuple[Tensor, Tensor]:
        """Activations (B, C, H, W), shifted if there is a centroid (B, C), and the features before that, (B, C)."""
        activations = gelu(self.normalisation(self.convolution(x)))
        features = channel_means(activations, 1)
        if centroid is None:
            return activations, features
        return activations + (self.weight * (centroid - features))[..., None, None], features


class FeatureDenoiser(nn.Module):
    """A UNet of two scales.

    Args:
        width: channels at full resolution; twice as many below.
    """

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        wide = 2 * width
        self.encoder = nn.ModuleList([GuidedLayer(1, width), GuidedLayer(width, width)])
        self.middle = nn.ModuleList([GuidedLayer(width, wide), GuidedLayer(wide, wide), GuidedLayer(wide, wide)])
        self.decoder = nn.ModuleList([GuidedLayer(wide + width, width), GuidedLayer(width, width)])
        self.last = nn.Conv2d(width, 1, 3, padding=1)

    @property
    def layers(self) -> list[GuidedLayer]:
        """All layers with features, in their order."""
        return [layer for part in (self.encoder, self.middle, self.decoder) for layer in part]  # type: ignore[misc]

    def forward(self, noisy: Tensor, centroids: Sequence[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        """Estimate the clean images.

        Args:
            noisy: x + sigma n, shape (B, 1, H, W).
            centroids: one tensor (B, C) a layer; None for the unguided score.

        Returns:
            The estimates, and every layer's features before its shift, (B, C) each.
        """
        targets = iter(centroids) if centroids is not None else None
        found: list[Tensor] = []

        def run(part: nn.ModuleList, x: Tensor) -> Tensor:
            for layer in part:
                x, features = layer(x, None if targets is None else next(targets))
                found.append(features)
            return x

        fine = run(self.encoder, noisy)
        coarse = run(self.middle, avg_pool2d(fine, 2))
        joined = torch.cat([interpolate(coarse, scale_factor=2.0, mode="nearest"), fine], 1)
        return noisy - self.last(run(self.decoder, joined)), found
