"""The embedded model without ComfyUI: Euler sampling of a rectified flow (arXiv 2210.02747), with guidance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..guidance.base import Guidance, SamplingRun, SamplingStep
from .assets_path import asset
from .autoencoder import DOWNSCALE, LATENT_CHANNELS, Autoencoder, load_autoencoder
from .latent_space import LATENT_FORMAT
from .lora import TURBO_LORA
from .schedule import simple_schedule
from .text import TextEncoder
from .transformer import load_transformer, to_model_space, to_raw_latents

Progress = Callable[[int, int], None]
"""Called with (steps done, total steps)."""


class Sampling(NamedTuple):
    """How a model is meant to be sampled: evaluations, and scale of classifier-free guidance (1 for none)."""

    steps: int
    cfg: float


BASE, TURBO = Sampling(24, 5.0), Sampling(8, 1.0)


@dataclass(frozen=True)
class EmbeddedModel:
    """The three networks of the embedded model.

    Attributes:
        transformer: the denoiser, float32.
        text: prompts to conditionings.
        autoencoder: latents to images and back.
        sampling: defaults of `sample`.
    """

    transformer: nn.Module
    text: TextEncoder
    autoencoder: Autoencoder
    sampling: Sampling = BASE

    @classmethod
    def load(cls, turbo: bool = False) -> EmbeddedModel:
        """Load the embedded weights, or those distilled for few steps without classifier-free guidance."""
        transformer = load_transformer(lora=asset(TURBO_LORA) if turbo else None)
        return cls(transformer, TextEncoder.load(), load_autoencoder(), TURBO if turbo else BASE)

    @torch.no_grad()
    def sample(
        self,
        prompts: list[str],
        seed: int,
        *,
        steps: int | None = None,
        cfg: float | None = None,
        size: int = 64,
        guidance: Guidance | None = None,
        noise: Tensor | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Sample one batch, from the initial noise that ComfyUI's KSampler generates for the seed.

        Args:
            prompts: one per image.
            seed: of the initial noise.
            steps: evaluations of the model; None for the model's default.
            cfg: scale of classifier-free guidance, 1 for none; None for the model's default.
            size: width and height in pixels, a multiple of 16.
            guidance: steers the estimates.
            noise: initial noise in the shape of the result; None for that of the seed.
            progress: called after every step.

        Returns:
            Raw VAE latents, shape (len(prompts), 16, size / 8, size / 8).

        Raises:
            ValueError: there is no prompt, a prompt has too many words, or the size, the number of steps or the noise's
                shape is invalid.
        """
        if not prompts or size % 16 or size <= 0:
            raise ValueError("Give at least one prompt, and a size in pixels that is a multiple of 16.")
        steps = self.sampling.steps if steps is None else steps
        cfg = self.sampling.cfg if cfg is None else cfg
        sigmas = simple_schedule(steps)
        shape = (LATENT_CHANNELS, size // DOWNSCALE, size // DOWNSCALE)
        if noise is None:
            noise = torch.randn((len(prompts), *shape), generator=torch.Generator("cpu").manual_seed(seed))
        elif tuple(noise.shape) != (len(prompts), *shape):
            raise ValueError(f"The noise has shape {tuple(noise.shape)}, these images need {(len(prompts), *shape)}.")
        condition = self.text.encode(prompts)
        empty = self.text.encode([""] * len(prompts))
        if guidance is not None:
            guidance.begin(SamplingRun(len(prompts), shape, sigmas, noise.device, LATENT_FORMAT, seed, to_model_space))
        x = noise * sigmas[0]
        for index, (sigma, next_sigma) in enumerate(zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True)):
            unconditional = cache(partial(self._denoise, x, sigma, empty))
            if cfg == 1 and guidance is not None and guidance.replaces_prompt(sigma):
                denoised = conditional = unconditional()
            else:
                denoised = conditional = self._denoise(x, sigma, condition)
            if cfg != 1:
                denoised = unconditional() + cfg * (conditional - unconditional())
            if guidance is not None:
                place = index / max(steps - 1, 1)
                step = SamplingStep(sigma, next_sigma, place, x, conditional, unconditional=unconditional)
                denoised = guidance(denoised, step)
            x = denoised + (next_sigma / sigma) * (x - denoised)
            if progress is not None:
                progress(index + 1, steps)
        if guidance is not None:
            x = guidance.finish(x)
        return to_raw_latents(x)

    def decode(self, latents: Tensor) -> Tensor:
        """Images in 0..1, shape (B, 3, H, W), of raw latents (B, 16, H / 8, W / 8)."""
        return self.autoencoder.decode(latents)

    def _denoise(self, x: Tensor, sigma: float, condition: tuple[Tensor, Tensor]) -> Tensor:
        """The estimate of x0 of a velocity model: x - sigma v."""
        tokens, pooled = condition
        times = torch.full((len(x),), sigma * 1000)
        velocity: Tensor = self.transformer(x, tokens, pooled, times, return_dict=False)[0]
        return x - sigma * velocity
