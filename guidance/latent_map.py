"""The elementwise map from raw VAE latents to a model's space, scale * raw + offset, found by probing it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

TOLERANCE = 1e-3
"""Largest error of the map, relative to its scale, that counts as rounding."""


@dataclass(frozen=True)
class LatentMap:
    """The map of a latent format.

    Attributes:
        scale: float64, shape (D,), nowhere 0.
        offset: float64, shape (D,).
    """

    scale: Tensor
    offset: Tensor

    @classmethod
    def fit(cls, to_model_space: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> LatentMap | None:
        """The map of latents (C, ...); None if it is not elementwise affine and invertible."""
        probe = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        raw = torch.stack([torch.zeros(shape), torch.ones(shape), probe])
        mapped = to_model_space(raw)
        if mapped.shape != raw.shape:
            return None
        at_zero, at_one, at_probe = mapped.double().flatten(1).cpu()
        scale = at_one - at_zero
        errors = (at_probe - (scale * probe.double().flatten() + at_zero)).abs()
        if not bool(scale.all() and (errors <= TOLERANCE * scale.abs().max()).all()):
            return None
        return cls(scale, at_zero)

    @property
    def smallest(self) -> float:
        """Smallest scale: distances in the model's space are at least this many times those of raw latents."""
        return float(self.scale.abs().min())

    @property
    def is_uniform(self) -> bool:
        """Whether all scales are equal, so that distances have the same order in both spaces."""
        sizes = self.scale.abs()
        return bool(sizes.max() <= sizes.min() * (1 + TOLERANCE))

    def lengths(self, differences: Tensor) -> Tensor:
        """Norms in the model's space, shape (n,), of differences of raw latents (n, D) on the CPU."""
        return (differences * self.scale.to(differences.dtype)).norm(dim=1)

    def to_raw(self, points: Tensor) -> Tensor:
        """Points (B, D) of the model's space as raw latents, float32 on the CPU."""
        return ((points.to("cpu", torch.float64) - self.offset) / self.scale).float()
