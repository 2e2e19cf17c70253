"""Other methods that change the initial noise, from their equations; see ``conditioning``."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ...embedded.model import EmbeddedModel

TEMPERATURE = 0.1

Estimate = Callable[[Tensor], Tensor]
"""The one-step estimate of x0, (B, C, H, W), of initial noise of that shape."""


def one_step(model: EmbeddedModel, prompt: str) -> Estimate:
    """The model's one-step estimate for a prompt, differentiable."""
    tokens, pooled = model.text.encode([prompt])

    def estimate(noise: Tensor) -> Tensor:
        count = len(noise)
        times = torch.full((count,), 1000.0)
        context = tokens.expand(count, -1, -1), pooled.expand(count, -1)
        return noise - model.transformer(noise, *context, times, return_dict=False)[0]

    return estimate


def contrastive_noise(noise: Tensor, estimate: Estimate, rounds: int = 3, rate: float = 10.0) -> Tensor:
    """Contrastive noise optimisation (arXiv 2510.03813), in its form without a gradient through the network.

    Initial noise (B, C, H, W) descends the InfoNCE loss of its one-step estimates: cosine similarity at a temperature
    of 0.1, each attracted to its own first estimate with the temperature divided by 1 / (tau log(B - 1) + 1).
    """
    if len(noise) < 2:
        return noise
    weight = 1 / (TEMPERATURE * math.log(len(noise) - 1) + 1)
    with torch.no_grad():
        anchor = torch.nn.functional.normalize(estimate(noise).flatten(1), dim=1)
    others = ~torch.eye(len(noise), dtype=torch.bool)
    for _ in range(rounds):
        with torch.no_grad():
            found = estimate(noise).flatten(1)
        with torch.enable_grad():
            points = found.clone().requires_grad_()
            units = torch.nn.functional.normalize(points, dim=1)
            near = (units * anchor).sum(1) * weight / TEMPERATURE
            apart = (units @ units.T / TEMPERATURE)[others].view(len(noise), -1)
            loss = (torch.logsumexp(torch.cat([near[:, None], apart], 1), 1) - near).mean()
            (gradient,) = torch.autograd.grad(loss, points)
        noise = noise - rate * gradient.view_as(noise)
        noise = noise / noise.flatten(1).std(1)[:, None, None, None]
    return noise


def langevin_noise(
    noise: Tensor, estimate: Estimate, empty: Estimate, rate: float, weight: float, generator: torch.Generator
) -> Tensor:
    """DivIn (arXiv 2606.02453): one Langevin step of the initial noise towards where the prompt changes little.

    x - rate (weight grad U + x) + sqrt(2 rate) n, with U the distance of the one-step estimates with and without the
    prompt, as in the paper (its code squares and adds).
    """
    with torch.enable_grad():
        points = noise.clone().requires_grad_()
        gap = (estimate(points) - empty(points)).flatten(1).norm(dim=1).sum()
        (gradient,) = torch.autograd.grad(gap, points)
    fresh = torch.randn(noise.shape, generator=generator)
    return noise - rate * (weight * gradient + noise) + math.sqrt(2 * rate) * fresh
