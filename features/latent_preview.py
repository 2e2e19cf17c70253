"""Image embeddings of latents by the linear previews of hosts, without a decoder."""

from __future__ import annotations

import torch
from torch import Tensor

from .space import FeatureSpace, as_latents, unit_vectors


class LatentPreview:
    """A feature space of images, applied to linear previews of latents.

    A preview has the resolution of the latent and roughly the right colours. Its gradient is nearly free.
    """

    def __init__(self, latent_format: str, factors: Tensor, bias: Tensor | None, image_space: FeatureSpace) -> None:
        """Set up the preview.

        Args:
            latent_format: name of the latent format, part of the tag.
            factors: (C, 3) contribution of each latent channel to red, green and blue in -1..1.
            bias: (3,) added to each colour, or None.
            image_space: measures the previews.

        Raises:
            ValueError: factors or bias of another shape.
        """
        self.factors = torch.as_tensor(factors, dtype=torch.float32)
        self.bias = torch.zeros(3) if bias is None else torch.as_tensor(bias, dtype=torch.float32)
        if self.factors.ndim != 2 or self.factors.shape[1] != 3 or self.bias.shape != (3,):
            raise ValueError(
                f"Expected preview factors of shape (C, 3) and a bias of shape (3,), got {tuple(self.factors.shape)} "
                f"and {tuple(self.bias.shape)}."
            )
        self._space = image_space
        self.tag = f"latent-preview-v1:{latent_format}:{image_space.tag}"
        self.dimension = image_space.dimension
        self.differentiable = image_space.differentiable
        self.duplicate_distance = image_space.duplicate_distance

    def preview(self, latents: Tensor) -> Tensor:
        """Images (B, 3, H, W) in 0 to 1 of latents (B, C, H, W).

        Raises:
            ValueError: another shape or number of channels, or numbers that are not finite.
        """
        latents = as_latents(latents)
        if latents.shape[1] != len(self.factors):
            raise ValueError(f"Expected latents of {len(self.factors)} channels, got {latents.shape[1]}.")
        return linear_preview(latents, self.factors, self.bias)

    def __call__(self, items: Tensor) -> Tensor:
        """Unit vectors, shape (B, dimension), of latents (B, C, H, W).

        Raises:
            ValueError: another shape or number of channels, or numbers that are not finite.
        """
        return unit_vectors(self._space(self.preview(items)))


def linear_preview(latents: Tensor, factors: Tensor, bias: Tensor) -> Tensor:
    """Images (B, 3, H, W) in 0 to 1 of latents (B, C, H, W); factors (C, 3) and bias (3,) give colours in -1 to 1."""
    factors, bias = factors.to(latents.device), bias.to(latents.device)
    colours = torch.einsum("bchw,cr->brhw", latents, factors) + bias[:, None, None]
    return ((colours + 1) / 2).clamp(0, 1)
