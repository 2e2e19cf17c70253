"""Training by denoising alone: the network that a centroid guides also computes it.

In every step and for every class, some images give the centroid and others are denoised with it, all at one noise
level. The former are denoised without guidance, so that the same network also learns the plain score.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .data import CLASSES, Digits
from .network import FeatureDenoiser

SIGMA_MAX = 2.0
SIGMA_MIN = 0.03
GROUP = 8
"""Images per class and step that give a centroid, and as many that are denoised with it."""


def train(
    digits: Digits, steps: int, seed: int = 0, tick: Callable[[int, float], None] = lambda step, loss: None
) -> FeatureDenoiser:
    """Train a denoiser.

    Args:
        digits: the data.
        steps: of Adam.
        seed: of weights, images and noise.
        tick: called with the step and its loss.
    """
    torch.manual_seed(seed)
    network = FeatureDenoiser()
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps, pct_start=0.1)
    generator = torch.Generator().manual_seed(seed)
    groups = [digits.of_class(digit) for digit in range(CLASSES)]
    for step in range(steps):
        clean = torch.stack([_some(group, 2 * GROUP, generator) for group in groups])
        sigma = SIGMA_MIN + (SIGMA_MAX - SIGMA_MIN) * torch.rand((CLASSES, 1, 1, 1, 1), generator=generator)
        noisy = clean + sigma * torch.randn(clean.shape, generator=generator)
        giving, guided = noisy[:, :GROUP].flatten(0, 1), noisy[:, GROUP:].flatten(0, 1)
        free, features = network(giving)
        centroids = [f.unflatten(0, (CLASSES, GROUP)).mean(1).repeat_interleave(GROUP, 0) for f in features]
        steered, _ = network(guided, centroids)
        estimates = torch.cat([part.unflatten(0, (CLASSES, GROUP)) for part in (free, steered)], 1)
        loss = ((estimates - clean).square() / sigma).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        tick(step, float(loss.detach()))
    return network.eval().requires_grad_(False)


def _some(images: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return images[torch.randperm(len(images), generator=generator)[:count]]
