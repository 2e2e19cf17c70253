"""Other methods that change the conditioning, from their equations, for comparison on the embedded model.

These are the published methods, not their software. Units, windows and strengths of other schedules are converted to a
rectified flow, as said here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...embedded.schedule import SHIFT
from ...guidance.base import SamplingStep
from ...guidance.limits import SigmaInterval
from .plain_guidance import PlainGuidance

Change = Callable[[Tensor, float], Tensor]
"""A new conditioning for (embeddings (B, ...), time); time falls from 1 to 0 in even steps."""


def unshifted(level: float, shift: float = SHIFT) -> float:
    """Time in [0, 1] of a noise level: the inverse of ``embedded.schedule.shifted``."""
    return level / (shift - (shift - 1) * level)


class ChangedConditions(nn.Module):
    """A denoiser with changed conditionings.

    Args:
        transformer: the denoiser.
        change: applied to tokens and pooled embeddings of all but the empty prompt.
        empty: tokens of the empty prompt, shape (8, 128).
    """

    def __init__(self, transformer: nn.Module, change: Change, empty: Tensor) -> None:
        super().__init__()
        self.transformer, self.change, self.empty = transformer, change, empty

    def forward(self, x: Tensor, tokens: Tensor, pooled: Tensor, times: Tensor, return_dict: bool = False) -> Tensor:
        """The same as the denoiser's."""
        if not torch.equal(tokens[0], self.empty):
            time = unshifted(float(times[0]) / 1000)
            tokens, pooled = self.change(tokens, time), self.change(pooled, time)
        return self.transformer(x, tokens, pooled, times, return_dict=return_dict)


class AnnealedConditions:
    """CADS (arXiv 2310.17347): noise in the conditioning that falls during sampling.

    y becomes sqrt(gamma) y + scale sqrt(1 - gamma) n, rescaled to the mean and deviation of y, in units of the latter.

    Args:
        scale: of the noise; 0.25 is the paper's for Stable Diffusion.
        seed: of the noise, sampled in every step.
        end, begin: times between which gamma falls from 1 to 0.
    """

    def __init__(self, scale: float, seed: int, end: float = 0.6, begin: float = 0.9) -> None:
        self.scale, self.end, self.begin = scale, end, begin
        self._generator = torch.Generator().manual_seed(seed)

    def gamma(self, time: float) -> float:
        """Remaining fraction of the conditioning."""
        return min(1.0, max(0.0, (self.begin - time) / (self.begin - self.end)))

    def __call__(self, embeddings: Tensor, time: float) -> Tensor:
        """Embeddings (B, ...) with the noise of a time."""
        gamma = self.gamma(time)
        if gamma == 1:
            return embeddings
        axes = tuple(range(1, embeddings.dim()))
        mean, deviation = embeddings.mean(axes, keepdim=True), embeddings.std(axes, keepdim=True)
        noise = torch.randn(embeddings.shape, generator=self._generator) * deviation
        mixed = math.sqrt(gamma) * embeddings + self.scale * math.sqrt(1 - gamma) * noise
        centred = mixed - mixed.mean(axes, keepdim=True)
        return centred / mixed.std(axes, keepdim=True) * deviation + mean


class VariedConditions:
    """Noise on a random part of the conditioning in the first steps, after SeedVarianceEnhancer's description.

    Args:
        strength: half width of the uniform noise in standard deviations of the embeddings (the original's 15 to 30 are
            in the units of another text encoder).
        seed: of the noise, the same in every step.
        fraction: of the values that are changed.
        until: time at which the prompt's own conditioning returns, by default after a fifth of the steps.
    """

    def __init__(self, strength: float, seed: int, fraction: float = 0.5, until: float = 0.8) -> None:
        self.strength, self.seed, self.fraction, self.until = strength, seed, fraction, until

    def __call__(self, embeddings: Tensor, time: float) -> Tensor:
        """Embeddings (B, ...), varied in the first steps."""
        if time <= self.until:
            return embeddings
        generator = torch.Generator().manual_seed(self.seed)
        chosen = torch.rand(embeddings.shape, generator=generator) < self.fraction
        noise = 2 * torch.rand(embeddings.shape, generator=generator) - 1
        deviation = embeddings.std(tuple(range(1, embeddings.dim())), keepdim=True)
        return embeddings + self.strength * deviation * noise * chosen


@dataclass(frozen=True)
class IntervalGuidance(PlainGuidance):
    """Classifier-free guidance in an interval of noise levels only (arXiv 2404.07724).

    Attributes:
        interval: where it acts; elsewhere the conditional estimate is used.
    """

    interval: SigmaInterval
    name = "interval guidance"

    def __call__(self, denoised: Tensor, step: SamplingStep) -> Tensor:
        """The guided estimate inside, the conditional one outside."""
        return denoised if step.sigma in self.interval else step.conditional
