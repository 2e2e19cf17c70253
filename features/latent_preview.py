"""Latents seen through a linear map to colours, the way hosts draw previews: picture features without a decoder."""

from __future__ import annotations

import torch
from torch import Tensor

from .space import FeatureSpace, as_latents, unit_vectors


class LatentPreview:
    """A feature space of pictures, applied to linear previews of latents.

    A preview has the resolution of the latent and roughly the right colours; gradients through it cost next to nothing.
    """

    def __init__(self, latent_format: str, factors: Tensor, bias: Tensor | None, pictures: FeatureSpace) -> None:
        """Take the host's preview of a latent format.

        Args:
            latent_format: name of the latent format, part of the tag.
            factors: (C, 3) contribution of each latent channel to red, green and blue in -1..1.
            bias: (3,) added to each colour, or None.
            pictures: what measures the previews.

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
        self.latent_format = latent_format
        self.pictures = pictures

    @property
    def tag(self) -> str:
        """Name of the space."""
        return f"latent-preview-v1:{self.latent_format}:{self.pictures.tag}"

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self.pictures.dimension

    @property
    def differentiable(self) -> bool:
        """Whether gradients flow to the latents."""
        return self.pictures.differentiable

    @property
    def duplicate_distance(self) -> float:
        """Distance below which two latents are called near-duplicates."""
        return self.pictures.duplicate_distance

    def preview(self, latents: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in 0 to 1 of latents (B, C, H, W).

        Raises:
            ValueError: another shape or number of channels, or numbers that are not finite.
        """
        latents = as_latents(latents)
        if latents.shape[1] != len(self.factors):
            raise ValueError(f"Expected latents of {len(self.factors)} channels, got {latents.shape[1]}.")
        factors, bias = self.factors.to(latents.device), self.bias.to(latents.device)
        colours = torch.einsum("bchw,cr->brhw", latents, factors) + bias[:, None, None]
        return ((colours + 1) / 2).clamp(0, 1)

    def __call__(self, items: Tensor) -> Tensor:
        """Unit vectors, shape (B, dimension), of latents (B, C, H, W).

        Raises:
            ValueError: another shape or number of channels, or numbers that are not finite.
        """
        return unit_vectors(self.pictures(self.preview(items)))
