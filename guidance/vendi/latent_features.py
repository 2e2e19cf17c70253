"""Features of estimates of x0, and their gradients with respect to the latents.

Nothing passes through the denoiser: the gradient is one vector-Jacobian product of decoder and feature network. It is
computed outside of the host's inference mode, on copies, as inference tensors cannot take part in autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...features.pooled_latents import PooledLatents
from ...features.space import FeatureSpace, unit_vectors
from ...kernels.shields.chunk_size import chunk_size
from ..base import SamplingRun

Decode = Callable[[Tensor], Tensor]
"""Latents (B, C, H, W) in the model's space to images (B, 3, h, w) in 0 to 1."""


@dataclass(frozen=True)
class LatentFeatures:
    """Features of latents in the model's space.

    Attributes:
        space: of latents or, with a decoder, of images.
        decode: the decoder; None if the space is one of latents.
        chunk: samples measured at once, to bound memory.
        one_frame: whether a video is represented by its middle frame; always so with a decoder.
        weights: of each feature, shape (dimension,), where only part of an image counts; None for equal weights.
    """

    space: FeatureSpace
    decode: Decode | None = None
    chunk: int = 64
    one_frame: bool = False
    weights: Tensor | None = None

    def __post_init__(self) -> None:
        if not self.space.differentiable:
            raise ValueError(
                f"Features of {self.space.tag} cannot steer, since no gradients flow through them: choose others."
            )
        if self.chunk < 1:
            raise ValueError(f"At least one sample must be measured at once, not {self.chunk}.")

    @property
    def tag(self) -> str:
        """Tag of the space: features are comparable only under equal tags."""
        return self.space.tag

    @property
    def fraction(self) -> float:
        """Fraction of an image that counts, 0 to 1."""
        return 1.0 if self.weights is None else float(self.weights.mean())

    def masked(self, denoise_mask: Tensor) -> LatentFeatures:
        """Restrict pooled latents to where an image may change; all images are equal elsewhere.

        Other feature spaces have no spatial cells and are returned unchanged.

        Args:
            denoise_mask: 0 and 1, in the shape (C, ...) of a latent.
        """
        if not isinstance(self.space, PooledLatents):
            return self
        # The weights take part in gradients, which tensors of inference mode cannot.
        with torch.inference_mode(False):
            return replace(self, weights=self.space.pooled(_laid_out(denoise_mask[None].clone()))[0])

    def weighted(self, features: Tensor) -> Tensor:
        """Unit vectors of whole images, shape (N, dimension), restricted to the part that counts."""
        return features if self.weights is None else unit_vectors(features * self.weights.to(features.device))

    def __call__(self, latents: Tensor) -> Tensor:
        """Unit vectors, shape (B, dimension), of latents (B, C, ...) in the model's space.

        Raises:
            ValueError: latents that are not finite or do not fit the space.
        """
        if not len(latents):
            return latents.new_zeros((0, self.space.dimension), dtype=torch.float32)
        with torch.no_grad():
            return torch.cat([self._of(part.float()) for part in latents.split(chunk_size(self.chunk))])

    def pull_back(self, latents: Tensor, gradients: Sequence[Tensor]) -> list[Tensor]:
        """Gradients with respect to features as gradients with respect to the latents.

        Args:
            latents: (B, C, ...) in the model's space.
            gradients: each (B, dimension).

        Returns:
            One tensor (B, D) for each, float32.
        """
        parts: list[list[Tensor]] = []
        with torch.inference_mode(False), torch.enable_grad():
            size = chunk_size(self.chunk)
            for start in range(0, len(latents), size):
                rows = slice(start, start + size)
                # Clones are ordinary tensors even if the original was made in inference mode.
                moving = latents[rows].detach().float().clone().requires_grad_()
                features = self._of(moving)
                forces = [gradient[rows].detach().to(features).clone() for gradient in gradients]
                found = [
                    torch.autograd.grad(features, moving, force, retain_graph=force is not forces[-1])[0]
                    for force in forces
                ]
                parts.append([gradient.flatten(1) for gradient in found])
        return [torch.cat(each) for each in zip(*parts, strict=True)]

    def _of(self, latents: Tensor) -> Tensor:
        latents = _laid_out(latents)
        if latents.ndim == 5 and (self.one_frame or self.decode is not None):
            latents = latents[:, :, latents.shape[2] // 2]
        return self.weighted(self.space(latents if self.decode is None else self.decode(latents)))


def _laid_out(latents: Tensor) -> Tensor:
    """Add a height to latents of sound, which have one axis of values for each channel."""
    return latents.unsqueeze(2) if latents.ndim == 3 else latents


MakeFeatures = Callable[[SamplingRun], LatentFeatures]
"""Chooses the feature space of a run."""


def latent_layout(cells: int = 16) -> MakeFeatures:
    """Features of latents averaged over a coarse grid: no decoder, no second network, nearly free."""

    def make(run: SamplingRun) -> LatentFeatures:
        shape = run.latent_shape
        channels = shape[0] * (shape[1] if len(shape) == 4 else 1)
        # Never more cells than latents: a small image is compared value by value.
        side = max(1, min([cells, *list(shape)[1:][-2:]]))
        return LatentFeatures(PooledLatents(run.latent_format, channels, side))

    return make
