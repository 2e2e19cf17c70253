"""Other methods that change the latents of a batch, from their equations; see ``conditioning``."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import scipy.fft
import torch
from torch import Tensor

from ...guidance.base import SamplingRun, SamplingStep
from ...kernels.vendi import order_two_force
from .plain_guidance import PlainGuidance

MAX_RATIO = 14.6
"""Noise to signal at Stable Diffusion 1.5's first step; in a rectified flow it is infinite."""

ENTROPY_CALLS = 5
"""Number of SPARKE's evaluations in a run: every tenth of 51 steps."""

WAVES = 4
"""Frequencies along each axis of DiversityBoost's fields."""


@dataclass(frozen=True)
class ParticleGuidance(PlainGuidance):
    """Particle Guidance on latents, with a Gaussian kernel (arXiv 2310.13102).

    The predicted noise loses coefficient * sigma_t * sum_j 2 w_ij (x_i - x_j) / h_i, with w = exp(-d^2 / h) and
    h = median(d)^2 / log(n - 1), while the noise is stronger than the signal. Latents are scaled to the original's
    variance-preserving process, and for two images log 2 stands for log 1, which would be no force.

    Attributes:
        coefficient: 30 is the original's.
    """

    coefficient: float = 30.0
    name = "Particle Guidance"

    def __call__(self, denoised: Tensor, step: SamplingStep) -> Tensor:
        """Estimates (B, C, ...) moved apart."""
        signal, size = 1 - step.sigma, math.hypot(step.sigma, 1 - step.sigma)
        ratio = min(step.sigma / signal if signal > 0 else math.inf, MAX_RATIO)
        if ratio < 1 or len(denoised) < 2:
            return denoised
        force = repulsion(step.noisy.flatten(1) / size).view_as(denoised)
        return denoised + ratio * self.coefficient * (step.sigma / size) * force


def repulsion(points: Tensor) -> Tensor:
    """The force of Particle Guidance on points (B, D), B at least 2; shape (B, D)."""
    count = len(points)
    distances = torch.cdist(points, points)
    others = distances[~torch.eye(count, dtype=torch.bool)].view(count, count - 1)
    width = others.median(dim=1, keepdim=True).values.square() / math.log(max(count - 1, 2))
    weights = 2 * torch.exp(-distances.square() / width) / width
    return weights.sum(1, keepdim=True) * points - weights @ points


@dataclass
class EntropyGuidance(PlainGuidance):
    """SPARKE's ascent of the order-2 Renyi kernel entropy of the noisy latents (arXiv 2506.10173), one prompt a batch.

    Latents move uphill by a fraction of their length, five times in a run; the original's sixth, after the model's last
    step, is left out. An Euler step turns the estimate's move into that of the latents.

    Attributes:
        scale: that fraction; 0.03 is the original's.
        width: of the Gaussian kernel of unit vectors; 0.8 is the original's for latents.
    """

    scale: float = 0.03
    width: float = 0.8
    name = "SPARKE"
    _called: int = field(default=0, init=False)

    def begin(self, run: SamplingRun) -> None:
        """Reset the count of evaluations."""
        self._called = 0

    def __call__(self, denoised: Tensor, step: SamplingStep) -> Tensor:
        """Estimates (B, C, ...) that move the latents uphill."""
        if len(denoised) < 2 or step.progress * ENTROPY_CALLS < self._called - 1e-6:
            return denoised
        self._called += 1
        points = step.noisy.flatten(1)
        uphill = torch.nn.functional.normalize(entropy_ascent(points, self.width), dim=1)
        move = self.scale * points.norm(dim=1, keepdim=True) * uphill
        return denoised + move.view_as(denoised) / (1 - step.next_sigma / step.sigma)


def entropy_ascent(points: Tensor, width: float) -> Tensor:
    """A multiple of the gradient of -log sum_ij k_ij^2 for points (B, D), taken as unit vectors; shape (B, D)."""
    units = torch.nn.functional.normalize(points, dim=1)
    apart = order_two_force(units, units[:0], bandwidth=width)
    return (apart - (apart * units).sum(1, keepdim=True) * units) / points.norm(dim=1, keepdim=True)


@dataclass
class CompositionPush(PlainGuidance):
    """DiversityBoost's first step, in its form of April 2026 (a factor, no turned phases), in the model's space.

    The first estimate keeps only its two lowest periods, without their mean, and is multiplied by 1 + strength times a
    random field of 4 x 4 cosines whose amplitudes fall with the root of the frequency. Later steps are the model's own.

    Attributes:
        strength: deviations of the field; 2 is the original's.
        above: largest excess of the factor over 1.
        periods: cut-off of the Butterworth filter of order 6, at half of the energy.
    """

    strength: float = 2.0
    above: float = 0.5
    periods: float = 2.0
    name = "DiversityBoost"
    _generator: torch.Generator | None = field(default=None, init=False)

    def begin(self, run: SamplingRun) -> None:
        """The next estimate is the first."""
        self._generator = run.generator("composition push")

    def __call__(self, denoised: Tensor, step: SamplingStep) -> Tensor:
        """Estimates (B, C, H, W), the first ones recomposed."""
        if self._generator is None or step.progress > 0:
            return denoised
        height, width = denoised.shape[-2:]
        fields = cosine_fields(len(denoised), height, width, self._generator).to(denoised)
        factor = (1 + self.strength * fields).clamp(0.1, 1 + self.above)
        kept = lowest_periods(height, width, self.periods).to(denoised)
        return torch.fft.irfft2(torch.fft.rfft2(denoised) * kept, s=(height, width)) * factor[:, None]


def cosine_fields(count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Random fields (count, height, width) of deviation 1 and mean 0."""
    along = torch.arange(WAVES, dtype=torch.float32)
    frequencies = (along[:, None].square() + along.square()).sqrt()
    amplitudes = torch.where(frequencies > 0, frequencies, torch.inf).rsqrt()
    coefficients = torch.randn(count, WAVES, WAVES, generator=generator) * amplitudes
    waves = scipy.fft.idctn(coefficients.numpy(), s=(height, width), axes=(1, 2), norm="ortho")
    fields = torch.from_numpy(waves)
    return fields / fields.flatten(1).std(dim=1)[:, None, None]


def lowest_periods(height: int, width: int, periods: float) -> Tensor:
    """Factors for the real Fourier transform of (height, width), shape (height, width // 2 + 1); 0 for the mean."""
    down, across = torch.fft.fftfreq(height) * height, torch.fft.rfftfreq(width) * width
    kept = (1 + (torch.hypot(down[:, None], across) / periods).pow(12)).rsqrt()
    kept[0, 0] = 0
    return kept
