"""Feature Guidance and feature probes on the embedded model, without ComfyUI."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ...embedded.latent_space import LATENT_FORMAT
from ...embedded.model import EmbeddedModel
from ...embedded.schedule import sigma_at_percent
from ...embedded.transformer import to_model_space
from ...guidance.activations.guidance import FeatureGuidance
from ...guidance.activations.hooks import LayerHooks
from ...guidance.activations.layers import find_layers, select_layers
from ...guidance.activations.probe import (
    ActivationReader,
    make_centroid,
    network_fingerprint,
    probe_inputs,
)
from ...stores.centroid.centroid import FeatureCentroid

LEVELS = 8
"""Noise levels of a probe, evenly spaced over the model's schedule."""


class _Announced(nn.Module):
    """A transformer that opens a pass of the guidance, and says whether it runs for the prompt or the empty prompt."""

    def __init__(self, transformer: nn.Module, guidance: FeatureGuidance, empty: Tensor) -> None:
        super().__init__()
        self.transformer = transformer
        self.guidance = guidance
        self.empty = empty

    def forward(self, x: Tensor, tokens: Tensor, pooled: Tensor, times: Tensor, **options: Any) -> Any:
        """Run the transformer within a pass."""
        wanted = self.guidance.every_pass or not torch.equal(tokens[:1], self.empty)
        self.guidance.open_pass(float(times[0]) / 1000, [slice(0, len(x))] if wanted else [])
        try:
            return self.transformer(x, tokens, pooled, times, **options)
        finally:
            self.guidance.close_pass()


@contextmanager
def steered(model: EmbeddedModel, guidance: FeatureGuidance) -> Iterator[EmbeddedModel]:
    """The model with its activations under guidance, which must also be given to ``sample``."""
    announced = _Announced(model.transformer, guidance, model.text.encode([""])[0])
    with LayerHooks(find_layers(model.transformer), list(guidance.weights), guidance.visit):
        yield replace(model, transformer=announced)


def every_layer(model: EmbeddedModel) -> dict[str, float]:
    """Equal weights for all layers."""
    return {layer.name: 1.0 for layer in find_layers(model.transformer)}


def own_samples(model: EmbeddedModel, prompt: str, count: int, seed: int, steps: int) -> FeatureCentroid:
    """The centroid of the model's own samples of a prompt at CFG 1."""
    prompts = [prompt] * count
    return probe(model, prompts, model.sample(prompts, seed, steps=steps, cfg=1.0), "own samples")


@torch.no_grad()
def probe(
    model: EmbeddedModel,
    prompts: Sequence[str],
    latents: Tensor,
    name: str,
    *,
    layers: str = "all",
    draws: int = 4,
    levels: int = LEVELS,
    seed: int = 0,
) -> FeatureCentroid:
    """The centroid of images.

    Args:
        model: the embedded model.
        prompts: one for each image.
        latents: the images, raw VAE latents (N, 16, h, w).
        name: of the group.
        layers: as in ``select_layers``.
        draws: noises per level, the same for every image.
        levels: noise levels.
        seed: of the noise.
    """
    found = find_layers(model.transformer)
    wanted = list(select_layers(found, layers))
    sigmas = torch.tensor([sigma_at_percent((level + 0.5) / levels) for level in range(levels)])
    clean = to_model_space(latents)
    tokens, pooled = model.text.encode(list(prompts))
    reader = ActivationReader()
    with LayerHooks(found, wanted, reader.visit):
        for level, noise in probe_inputs(reader, clean.shape, levels, draws, seed):
            sigma = float(sigmas[level])
            noisy = (1 - sigma) * clean + sigma * noise
            times = torch.full((len(noisy),), sigma * 1000)
            model.transformer(noisy, tokens, pooled, times, return_dict=False)
    fingerprint = network_fingerprint(model.transformer, found)
    own_noise = reader.activation_means(own_noise=True)
    return make_centroid(reader.activation_means(), name, sigmas, fingerprint, LATENT_FORMAT, own_noise)
