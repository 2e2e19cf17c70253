"""The embedded model as a Stable Diffusion 3 pipeline of diffusers, with its own text encoder and autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny, AutoencoderTinyOutput
from diffusers.models.autoencoders.vae import DecoderOutput
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import StableDiffusion3Pipeline
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from .assets_path import asset
from .autoencoder import LATENT_CHANNELS, Autoencoder, load_autoencoder
from .lora import TURBO_LORA
from .schedule import SHIFT
from .text import TextEncoder
from .transformer import LATENT_SCALE, LATENT_SHIFT, load_transformer


class EmbeddedVae(AutoencoderTiny):
    """The embedded autoencoder with the interface that Stable Diffusion 3's pipelines call.

    Args:
        autoencoder: the embedded one; its network is shared.
    """

    def __init__(self, autoencoder: Autoencoder) -> None:
        super().__init__(latent_channels=LATENT_CHANNELS, scaling_factor=LATENT_SCALE, shift_factor=LATENT_SHIFT)
        self.encoder, self.decoder = autoencoder.network.encoder, autoencoder.network.decoder
        self.register_buffer("vae_scale", torch.tensor(autoencoder.scale))
        self.register_buffer("vae_shift", torch.tensor(autoencoder.shift))

    def encode(self, x: Tensor, return_dict: bool = True) -> Any:
        """Raw latents (B, 16, H / 8, W / 8) of images (B, 3, H, W) in -1..1."""
        latents = super().encode(x, return_dict=False)[0] / self.vae_scale + self.vae_shift
        return AutoencoderTinyOutput(latents=latents) if return_dict else (latents,)

    def decode(self, x: Tensor, generator: torch.Generator | None = None, return_dict: bool = True) -> Any:
        """Images (B, 3, 8 H, 8 W) in -1..1 of raw latents (B, 16, H, W)."""
        images = super().decode((x - self.vae_shift) * self.vae_scale, generator, return_dict=False)[0]
        return DecoderOutput(sample=images) if return_dict else (images,)


class PipelineTextEncoder(TextEncoder):
    """The embedded text encoder with the properties that a pipeline asks its components for."""

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.token_embedding.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Of its weights."""
        return self.token_embedding.weight.dtype


class EmbeddedPipeline(StableDiffusion3Pipeline):
    """A Stable Diffusion 3 pipeline whose prompts are words that the embedded model knows.

    Its first text encoder is the embedded model's; the others, and all tokenizers, are None.
    """

    text_encoder: PipelineTextEncoder

    def encode_prompt(  # type: ignore[override]
        self,
        prompt: str | Sequence[str] | None,
        prompt_2: str | Sequence[str] | None = None,
        prompt_3: str | Sequence[str] | None = None,
        device: torch.device | None = None,
        num_images_per_prompt: int = 1,
        do_classifier_free_guidance: bool = True,
        negative_prompt: str | Sequence[str] | None = None,
        *further: Any,
        prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        pooled_prompt_embeds: Tensor | None = None,
        negative_pooled_prompt_embeds: Tensor | None = None,
        **ignored: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None]:
        """Embed prompts as Stable Diffusion 3's pipelines expect it; given embeddings take their place.

        Returns:
            Embeddings (B, 8, 128) of the prompts and of the negative ones, and their pooled embeddings (B, 128); None
            for negative ones that are not asked for.

        Raises:
            ValueError: a prompt holds more than eight known words, or there are not as many negative prompts.
        """
        if prompt_embeds is None or pooled_prompt_embeds is None:
            prompt_embeds, pooled_prompt_embeds = self._encoded(_texts(prompt, 1), num_images_per_prompt)
        if not do_classifier_free_guidance:
            return prompt_embeds, None, pooled_prompt_embeds, None
        if negative_prompt_embeds is None or negative_pooled_prompt_embeds is None:
            count = len(prompt_embeds) // num_images_per_prompt
            negatives = _texts(negative_prompt, count)
            if len(negatives) != count:
                raise ValueError(f"There are {len(negatives)} negative prompts for {count} prompts: give one for each.")
            negative_prompt_embeds, negative_pooled_prompt_embeds = self._encoded(negatives, num_images_per_prompt)
        return prompt_embeds, negative_prompt_embeds, pooled_prompt_embeds, negative_pooled_prompt_embeds

    def _encoded(self, texts: Sequence[str], copies: int) -> tuple[Tensor, Tensor]:
        encoder = self.text_encoder
        numbers = torch.stack([encoder.tokenize(text) for text in texts]).to(self._execution_device)
        tokens, pooled = (each.repeat_interleave(copies, dim=0).to(self.transformer.dtype) for each in encoder(numbers))
        return tokens, pooled


def _texts(given: str | Sequence[str] | None, count: int) -> list[str]:
    """Prompts as a list; one text, or none, stands for all."""
    return [given or ""] * count if given is None or isinstance(given, str) else list(given)


def load_pipeline(turbo: bool) -> EmbeddedPipeline:
    """Load the embedded weights in float32, or those distilled for few steps."""
    return EmbeddedPipeline(
        transformer=load_transformer(lora=asset(TURBO_LORA) if turbo else None),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=SHIFT),
        vae=EmbeddedVae(load_autoencoder()).eval().requires_grad_(False),  # type: ignore[arg-type]
        text_encoder=PipelineTextEncoder.load(),  # type: ignore[arg-type]
        **dict.fromkeys(("tokenizer", "text_encoder_2", "tokenizer_2", "text_encoder_3", "tokenizer_3")),  # type: ignore[arg-type]
    )
