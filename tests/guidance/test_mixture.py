"""A mixture of Gaussians under a rectified flow with its exact denoiser: more modes at hardly a lower likelihood."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from diversity_guidance.guidance.base import Guidance, SamplingRun, SamplingStep
from diversity_guidance.guidance.limits import SigmaInterval
from diversity_guidance.guidance.references import ImageReferences
from diversity_guidance.guidance.repellency.guidance import RepellencySettings, SparseRepellency
from torch import Tensor

SHAPE = (4, 4, 4)
DIMENSION = math.prod(SHAPE)
MODES = 8
WIDTH = 0.15
BATCH = 8
SEEDS = range(12)


@dataclass
class Mixture:
    """Modes of unequal weight: a class of images, or one prompt's share of them."""

    means: Tensor
    weights: Tensor

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        """E[x0 | x = (1 - sigma) x0 + sigma noise], exactly."""
        signal = 1 - sigma
        variance = (signal * WIDTH) ** 2 + sigma**2
        residual = x.flatten(1)[:, None] - signal * self.means
        shares = (self.weights.log() - residual.square().sum(2) / (2 * variance)).softmax(1)
        gain = signal * WIDTH**2 / variance
        return (shares[..., None] * (self.means + gain * residual)).sum(1).view(x.shape)

    def log_likelihood(self, samples: Tensor) -> float:
        """Mean over the samples, per dimension."""
        residual = (samples.flatten(1)[:, None] - self.means).square().sum(2)
        densities = (
            self.weights.log() - residual / (2 * WIDTH**2) - DIMENSION * math.log(WIDTH * math.sqrt(2 * math.pi))
        )
        return float(densities.logsumexp(1).mean()) / DIMENSION

    def modes_of(self, samples: Tensor) -> int:
        """Modes of which a sample is within three standard deviations per dimension."""
        distances = torch.cdist(samples.flatten(1), self.means)
        near, index = distances.min(1)
        return len(set(index[near < 3 * WIDTH * math.sqrt(DIMENSION)].tolist()))


@pytest.fixture(scope="module")
def mixture() -> Mixture:
    means = torch.randn((MODES, DIMENSION), generator=torch.Generator().manual_seed(1000), dtype=torch.float64)
    return Mixture(means, 0.45 ** torch.arange(MODES, dtype=torch.float64))


@pytest.fixture(scope="module")
def everything(mixture: Mixture) -> Mixture:
    """What the model draws without a prompt: the same modes in other shares, so that guidance narrows."""
    return Mixture(mixture.means, torch.ones(MODES, dtype=torch.float64))


def draw(
    model: Mixture, seed: int, guidance: Guidance | None = None, unconditional: Mixture | None = None, cfg: float = 1.0
) -> Tensor:
    sigmas = torch.linspace(1, 0, 25)
    noise = torch.randn((BATCH, *SHAPE), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    if guidance is not None:
        guidance.begin(SamplingRun(BATCH, SHAPE, sigmas, noise.device, "toy", seed))
    x = noise
    for sigma, next_sigma in zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True):
        denoised = conditional = model.denoise(x, sigma)
        if unconditional is not None:
            denoised = conditional + (cfg - 1) * (conditional - unconditional.denoise(x, sigma))
        if guidance is not None:
            denoised = guidance(denoised, SamplingStep(sigma, next_sigma, 1 - sigma, x, conditional))
        x = denoised + next_sigma / sigma * (x - denoised)
    return x if guidance is None else guidance.finish(x)


def modes(mixture: Mixture, samples: list[Tensor]) -> float:
    return sum(map(mixture.modes_of, samples)) / len(samples)


def likelihood(mixture: Mixture, samples: list[Tensor]) -> float:
    return sum(map(mixture.log_likelihood, samples)) / len(samples)


EARLY = RepellencySettings(radius=0.8, cfg_easing=0.0, interval=SigmaInterval(low=0.5))
"""Pushes end while the flow can still make an image of what they left."""

MARGIN = 0.4
"""Log-likelihood per dimension that more modes may cost; a standard deviation further out costs 0.5."""


def test_a_batch_finds_more_modes_and_stays_likely(mixture: Mixture) -> None:
    plain = [draw(mixture, seed) for seed in SEEDS]
    guided = [draw(mixture, seed, SparseRepellency(EARLY)) for seed in SEEDS]
    assert modes(mixture, guided) >= modes(mixture, plain) + 0.5
    assert likelihood(mixture, guided) >= likelihood(mixture, plain) - MARGIN


def test_a_bank_of_what_was_drawn_leads_on_to_other_modes(mixture: Mixture) -> None:
    settings = replace(EARLY, in_batch=False)
    plain, guided = [], []
    for seed in SEEDS:
        first, second = draw(mixture, seed), draw(mixture, seed + 100)
        plain.append(torch.cat([first, second]))
        guided.append(
            torch.cat([first, draw(mixture, seed + 100, SparseRepellency(settings, [ImageReferences(first)]))])
        )
    assert modes(mixture, guided) >= modes(mixture, plain) + 0.5


def test_under_classifier_free_guidance_the_conditional_measure_costs_less(
    mixture: Mixture, everything: Mixture
) -> None:
    plain = [draw(mixture, seed, None, everything, cfg=2.0) for seed in SEEDS]
    drawn = {
        measure: [
            draw(mixture, seed, SparseRepellency(replace(EARLY, measure=measure)), everything, cfg=2.0)
            for seed in SEEDS
        ]
        for measure in ("guided", "conditional")
    }
    for samples in drawn.values():
        assert modes(mixture, samples) >= modes(mixture, plain) + 0.4
    assert likelihood(mixture, drawn["conditional"]) > likelihood(mixture, drawn["guided"])
    assert likelihood(mixture, drawn["conditional"]) >= likelihood(mixture, plain) - 1.5 * MARGIN


def test_the_promise_holds_at_the_end_of_a_flow(mixture: Mixture) -> None:
    settings = RepellencySettings(absolute_radius=3.0, ensure_outside=True, interval=SigmaInterval(high=0.0))
    bank = draw(mixture, 1)
    final = draw(mixture, 0, SparseRepellency(settings, [ImageReferences(bank)]))
    apart = torch.cdist(final.flatten(1), torch.cat([bank, final]).flatten(1))
    apart[:, len(bank) :].fill_diagonal_(math.inf)
    assert float(apart.min()) >= 3.0
