"""Runs, steps and sources for tests of the guidances."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from diversity_guidance.guidance.base import (
    Guidance,
    SamplingRun,
    SamplingStep,
    identity,
)
from hypothesis import settings
from torch import Tensor

settings.register_profile("guidance", deadline=None, derandomize=True, database=None)
settings.load_profile("guidance")

SHAPE = (4, 8, 8)


def noise(seed: int, count: int, shape: tuple[int, ...] = SHAPE, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn((count, *shape), generator=torch.Generator().manual_seed(seed)).to(dtype)


@dataclass
class Driver:
    """Drives a guidance as a host does."""

    batch: int = 3
    shape: tuple[int, ...] = SHAPE
    latent_format: str = "SD3"
    to_model_space: Callable[[Tensor], Tensor] = identity

    def begin(self, guidance: Guidance) -> Guidance:
        sigmas = torch.tensor([1.0, 0.5, 0.0])
        run = SamplingRun(
            self.batch, self.shape, sigmas, torch.device("cpu"), self.latent_format, 7, self.to_model_space
        )
        guidance.begin(run)
        return guidance

    @staticmethod
    def step(
        denoised: Tensor, sigma: float = 1.0, conditional: Tensor | None = None, mask: Tensor | None = None
    ) -> SamplingStep:
        noisy = denoised + 10 * noise(99, len(denoised), tuple(denoised.shape[1:]), denoised.dtype)
        return SamplingStep(sigma, sigma / 2, 1 - sigma, noisy, denoised if conditional is None else conditional, mask)


@pytest.fixture
def driver() -> Driver:
    return Driver()
