"""Class centroids, and sampling from the blind denoiser by stochastic ascent of the score (arXiv 2007.13640)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .network import FeatureDenoiser
from .training import SIGMA_MAX, SIGMA_MIN

LEVELS = 24


@dataclass(frozen=True)
class ClassCentroids:
    """Mean features of groups of images at a grid of noise levels.

    Attributes:
        sigmas: ascending, shape (S,).
        layers: one tensor (G, S, C) a layer, G groups.
    """

    sigmas: Tensor
    layers: tuple[Tensor, ...]

    def at(self, weights: Tensor, sigma: Tensor) -> list[Tensor]:
        """The centroids of images, interpolated linearly between the noise levels of the grid.

        Args:
            weights: of every group in each image's centroid, shape (B, G).
            sigma: noise level of each image, shape (B,).

        Returns:
            One tensor (B, C) a layer.
        """
        above = torch.searchsorted(self.sigmas, sigma.contiguous()).clamp(1, len(self.sigmas) - 1)
        low, high = self.sigmas[above - 1], self.sigmas[above]
        weight = ((sigma - low) / (high - low)).clamp(0, 1)[:, None]
        found = []
        for layer in self.layers:
            mixed = torch.einsum("bg,gsc->bsc", weights, layer)
            rows = torch.arange(len(sigma))
            found.append(torch.lerp(mixed[rows, above - 1], mixed[rows, above], weight))
        return found


@torch.no_grad()
def read_centroids(network: FeatureDenoiser, groups: Sequence[Tensor], seed: int = 0) -> ClassCentroids:
    """Centroids of groups of images (N, 1, 8, 8), one noise per image and level."""
    generator = torch.Generator().manual_seed(seed)
    sigmas = torch.linspace(SIGMA_MIN, SIGMA_MAX, LEVELS)
    means: list[list[list[Tensor]]] = []
    for group in groups:
        by_level = [
            [f.mean(0) for f in network(group + sigma * torch.randn(group.shape, generator=generator))[1]]
            for sigma in sigmas
        ]
        means.append([list(layer) for layer in zip(*by_level, strict=True)])
    layers = [torch.stack([torch.stack(group[at]) for group in means]) for at in range(len(means[0]))]
    return ClassCentroids(sigmas, tuple(layers))


@torch.no_grad()
def sample(
    network: FeatureDenoiser,
    count: int,
    seed: int,
    centroids: ClassCentroids | None = None,
    weights: Tensor | None = None,
    *,
    first_step: float = 0.02,
    noise: float = 0.3,
    end: float = SIGMA_MIN,
    max_steps: int = 1000,
) -> Tensor:
    """Sample images, shape (count, 1, 8, 8).

    Args:
        network: the denoiser.
        count: number of images.
        seed: of all noise.
        centroids: target of the guidance; None for the unguided score.
        weights: of every group, shape (G,); a single one gives its class.
        first_step: fraction of the noise that the first step removes; later ones remove more.
        noise: the paper's beta: 1 injects no noise, near 0 the most.
        end: noise level at which an image is finished.
        max_steps: limit of the steps.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (count, 1, 8, 8)
    image = SIGMA_MAX * torch.randn(shape, generator=generator)
    sigma = torch.full((count,), SIGMA_MAX)
    mixed = None if weights is None else weights.expand(count, -1)
    for step in range(1, max_steps + 1):
        targets = None if centroids is None or mixed is None else centroids.at(mixed, sigma)
        direction = network(image, targets)[0] - image
        sigma = direction.flatten(1).square().mean(1).sqrt()
        if float(sigma.max()) <= end:
            break
        length = first_step * step / (1 + first_step * (step - 1))
        gain = sigma * ((1 - noise * length) ** 2 - (1 - length) ** 2) ** 0.5
        fresh = torch.randn(shape, generator=generator)
        image = image + length * direction + gain[:, None, None, None] * fresh
    targets = None if centroids is None or mixed is None else centroids.at(mixed, sigma)
    return network(image, targets)[0]
