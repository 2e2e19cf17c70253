"""Latents averaged over a coarse grid as a feature space: no decoder, no second network."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from .space import as_latents, unit_vectors


class PooledLatents:
    """Latents of one format, averaged over cells.

    Latents of different image sizes become comparable by colour and layout. The frames of a video are separate
    channels: videos of different lengths are different spaces.
    """

    differentiable = True
    duplicate_distance = 0.25

    def __init__(self, latent_format: str, channels: int, cells: int = 4) -> None:
        """Choose the format and the grid.

        Args:
            latent_format: name of the latent format, part of the tag.
            channels: of a latent; for a video, times its frames.
            cells: along each side; smaller latents repeat their values.

        Raises:
            ValueError: no channels or no cells.
        """
        if channels < 1 or cells < 1:
            raise ValueError(f"Expected at least one channel and one cell, got {channels} and {cells}.")
        self.channels = channels
        self.cells = cells
        self.tag = f"pooled-latents-v1:{latent_format}:{channels}x{cells}x{cells}"
        self.dimension = channels * cells**2

    def pooled(self, items: Tensor) -> Tensor:
        """Averages of the cells, shape (B, channels cells^2), of latents (B, C, H, W) or (B, C, T, H, W).

        Raises:
            ValueError: another number of channels, or numbers that are not finite.
        """
        latents = as_latents(items)
        if latents.shape[1] != self.channels:
            raise ValueError(f"Expected latents of {self.channels} channels, got {latents.shape[1]}.")
        return adaptive_avg_pool2d(latents, self.cells).flatten(1)

    def __call__(self, items: Tensor) -> Tensor:
        """Unit vectors, shape (B, channels cells^2), of latents (B, C, H, W) or (B, C, T, H, W).

        Raises:
            ValueError: another number of channels, or numbers that are not finite.
        """
        return unit_vectors(self.pooled(items))
