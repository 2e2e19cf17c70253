"""Latents averaged over a coarse grid as a feature space: no decoder, no second network."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from .space import as_latents, unit_vectors


class PooledLatents:
    """Latents of one format, averaged over cells.

    Latents of different picture sizes become comparable, and what is left is colour and layout. The frames of a video
    stay apart: videos of different lengths are different spaces.
    """

    def __init__(self, latent_format: str, channels: int, cells: int = 4) -> None:
        """Choose the format and the grid.

        Args:
            latent_format: name of the latent format, part of the tag.
            channels: of a latent; those of all frames for a video.
            cells: along each side; a latent smaller than that repeats its values.

        Raises:
            ValueError: no channels or no cells.
        """
        if channels < 1 or cells < 1:
            raise ValueError(f"Expected at least one channel and one cell, got {channels} and {cells}.")
        self.latent_format = latent_format
        self.channels = channels
        self.cells = cells

    @property
    def tag(self) -> str:
        """Name of the space."""
        return f"pooled-latents-v1:{self.latent_format}:{self.channels}x{self.cells}x{self.cells}"

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self.channels * self.cells**2

    @property
    def differentiable(self) -> bool:
        """Gradients flow to the latents."""
        return True

    @property
    def duplicate_distance(self) -> float:
        """Distance below which two latents are called near-duplicates."""
        return 0.25

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
