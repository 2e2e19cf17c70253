"""Tiny pipelines of every family that can be steered, from a seed: no text encoders, nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .missing import library

diffusers = library("diffusers")

SIZE = 32
"""Height and width in pixels; no square is used, so that the axes can be told apart."""
WIDE = 48


@dataclass(frozen=True)
class Tiny:
    """A tiny pipeline and how to call it.

    Attributes:
        pipe: the pipeline.
        embeddings: of a prompt, and of a negative prompt, as the pipeline names them.
        scale: name of the scale of classifier-free guidance; "" without any.
        count: name of the number of images; "" where embeddings are given for each.
        latent_format: ComfyUI's name.
        shape: of one image's latents in ComfyUI.
        none: the scale at which there is no classifier-free guidance.
    """

    pipe: Any
    embeddings: dict[str, Any]
    scale: str
    count: str
    latent_format: str
    shape: tuple[int, ...]
    none: float = 1.0

    def call(self, scale: float, images: int = 2, seed: int = 1, **given: Any) -> Any:
        """What the pipeline returns first; scales are counted so that 1 is none."""
        wanted: dict[str, Any] = {**self.embeddings, "height": SIZE, "width": WIDE}
        wanted |= {self.scale: scale - 1 + self.none} if self.scale else {}
        wanted |= {self.count: images} if self.count else {}
        wanted |= {"num_inference_steps": 3, "output_type": "latent", **given}
        return self.pipe(generator=torch.Generator().manual_seed(seed), return_dict=False, **wanted)[0]


def _vae(channels: int, **given: Any) -> Any:
    return diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8,) * 4,
        norm_num_groups=2,
        latent_channels=channels,
        **given,
    )


def _vae_of_flux_2() -> Any:
    vae = diffusers.AutoencoderKLFlux2(
        block_out_channels=(8,) * 4, norm_num_groups=2, latent_channels=4, layers_per_block=1
    )
    vae.bn.running_mean.normal_()
    vae.bn.running_var.uniform_(0.5, 2)
    return vae


def _wan_numbers(channels: int) -> dict[str, Any]:
    return {
        "latents_mean": [0.1 * at for at in range(channels)],
        "latents_std": [1 + 0.1 * at for at in range(channels)],
    }


def _unet(**given: Any) -> Any:
    return diffusers.UNet2DConditionModel(
        **{
            "sample_size": 4,
            "in_channels": 4,
            "out_channels": 4,
            "block_out_channels": (8, 8),
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
            "layers_per_block": 1,
            "cross_attention_dim": 8,
            "attention_head_dim": 4,
            "norm_num_groups": 2,
            **given,
        }
    )


def _embedded(*names: str, shape: tuple[int, ...]) -> dict[str, Tensor]:
    return {name: torch.randn(shape) for name in names}


def stable_diffusion(kind: str = "StableDiffusionPipeline", channels: int = 4) -> Tiny:
    """Stable Diffusion 1.5."""
    pipe = getattr(diffusers, kind)(
        vae=_vae(4),
        unet=_unet(in_channels=channels),
        scheduler=diffusers.EulerDiscreteScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012),
        **dict.fromkeys(("text_encoder", "tokenizer", "safety_checker", "feature_extractor")),
        requires_safety_checker=False,
    )
    given = _embedded("prompt_embeds", "negative_prompt_embeds", shape=(1, 3, 8))
    return Tiny(pipe, given, "guidance_scale", "num_images_per_prompt", "SD15", (4, 4, 6))


def stable_diffusion_xl(kind: str = "StableDiffusionXLPipeline") -> Tiny:
    """Stable Diffusion XL."""
    unet = _unet(addition_embed_type="text_time", addition_time_embed_dim=4, projection_class_embeddings_input_dim=32)
    pipe = getattr(diffusers, kind)(
        vae=_vae(4, scaling_factor=0.13025),
        unet=unet,
        scheduler=diffusers.EulerDiscreteScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012),
        **dict.fromkeys(("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")),
    )
    given = _embedded("prompt_embeds", "negative_prompt_embeds", shape=(1, 3, 8))
    given |= _embedded("pooled_prompt_embeds", "negative_pooled_prompt_embeds", shape=(1, 8))
    return Tiny(pipe, given, "guidance_scale", "num_images_per_prompt", "SDXL", (4, 4, 6))


def stable_diffusion_3(kind: str = "StableDiffusion3Pipeline") -> Tiny:
    """Stable Diffusion 3."""
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=8,
        in_channels=16,
        num_layers=1,
        num_attention_heads=2,
        attention_head_dim=8,
        joint_attention_dim=8,
        caption_projection_dim=16,
        pooled_projection_dim=8,
        out_channels=16,
    )
    pipe = getattr(diffusers, kind)(
        transformer=transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_vae(16, scaling_factor=1.5305, shift_factor=0.0609),
        **dict.fromkeys(
            ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "text_encoder_3", "tokenizer_3")
        ),
    )
    given = _embedded("prompt_embeds", "negative_prompt_embeds", shape=(2, 3, 8))
    given |= _embedded("pooled_prompt_embeds", "negative_pooled_prompt_embeds", shape=(2, 8))
    return Tiny(pipe, given, "guidance_scale", "", "SD3", (16, 4, 6))


def flux(kind: str = "FluxPipeline") -> Tiny:
    """Flux.1, with guidance embedded in the model."""
    transformer = diffusers.FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=8,
        pooled_projection_dim=8,
        guidance_embeds=True,
        axes_dims_rope=(2, 2, 4),
    )
    pipe = getattr(diffusers, kind)(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=_vae(4, scaling_factor=0.3611, shift_factor=0.1159),
        transformer=transformer,
        **dict.fromkeys(("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")),
    )
    given = _embedded("prompt_embeds", "negative_prompt_embeds", shape=(1, 3, 8))
    given |= _embedded("pooled_prompt_embeds", "negative_pooled_prompt_embeds", shape=(1, 8))
    return Tiny(pipe, given, "true_cfg_scale", "num_images_per_prompt", "Flux", (4, 4, 6))


def _transformer_of_flux_2(guidance: bool) -> Any:
    return diffusers.Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=8,
        timestep_guidance_channels=16,
        axes_dims_rope=(2, 2, 2, 2),
        guidance_embeds=guidance,
    )


def flux_2() -> Tiny:
    """Flux.2, with guidance embedded in the model and nothing else."""
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    pipe = diffusers.Flux2Pipeline(scheduler, _vae_of_flux_2(), None, None, _transformer_of_flux_2(guidance=True))
    given = _embedded("prompt_embeds", shape=(1, 3, 8))
    return Tiny(pipe, given, "", "num_images_per_prompt", "Flux2", (16, 2, 3))


def flux_2_klein() -> Tiny:
    """Flux.2 klein, with classifier-free guidance."""
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    pipe = diffusers.Flux2KleinPipeline(scheduler, _vae_of_flux_2(), None, None, _transformer_of_flux_2(guidance=False))
    given = _embedded("prompt_embeds", "negative_prompt_embeds", shape=(1, 3, 8))
    return Tiny(pipe, given, "guidance_scale", "num_images_per_prompt", "Flux2", (16, 2, 3))


def qwen_image(kind: str = "QwenImagePipeline") -> Tiny:
    """Qwen-Image."""
    transformer = diffusers.QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=8,
        axes_dims_rope=(2, 2, 4),
    )
    vae = diffusers.AutoencoderKLQwenImage(
        base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, **_wan_numbers(4)
    )
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    pipe = getattr(diffusers, kind)(
        scheduler=scheduler, vae=vae, text_encoder=None, tokenizer=None, transformer=transformer
    )
    given = _embedded("prompt_embeds", "negative_prompt_embeds", shape=(1, 3, 8))
    masks = {f"{name}_mask": torch.ones(1, 3, dtype=torch.long) for name in given}
    return Tiny(pipe, {**given, **masks}, "true_cfg_scale", "num_images_per_prompt", "Wan21", (4, 1, 4, 6))


def z_image(kind: str = "ZImagePipeline") -> Tiny:
    """Z-Image."""
    transformer = diffusers.ZImageTransformer2DModel(
        in_channels=4,
        dim=16,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=8,
        axes_dims=[2, 2, 4],
        axes_lens=[64, 16, 16],
    )
    pipe = getattr(diffusers, kind)(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_vae(4, scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=None,
        tokenizer=None,
        transformer=transformer,
    )
    given = {name: [torch.randn(3, 8)] for name in ("prompt_embeds", "negative_prompt_embeds")}
    return Tiny(pipe, given, "guidance_scale", "num_images_per_prompt", "Flux", (4, 4, 6), none=0.0)


def wan() -> Tiny:
    """Wan, with an expert for high noise and one for low noise."""

    def expert() -> Any:
        return diffusers.WanTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=12,
            in_channels=4,
            out_channels=4,
            text_dim=8,
            freq_dim=8,
            ffn_dim=8,
            num_layers=1,
            rope_max_seq_len=32,
        )

    pipe = diffusers.WanPipeline(
        tokenizer=None,
        text_encoder=None,
        vae=diffusers.AutoencoderKLWan(base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, **_wan_numbers(4)),
        scheduler=diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
        transformer=expert(),
        transformer_2=expert(),
        boundary_ratio=0.8,
    )
    given: dict[str, Any] = _embedded("prompt_embeds", "negative_prompt_embeds", shape=(1, 3, 8))
    given["num_frames"] = 5
    return Tiny(pipe, given, "guidance_scale", "num_videos_per_prompt", "Wan21", (4, 2, 4, 6))


BUILDERS: dict[str, Callable[[], Tiny]] = {
    build.__name__: build
    for build in (
        stable_diffusion,
        stable_diffusion_xl,
        stable_diffusion_3,
        flux,
        flux_2,
        flux_2_klein,
        qwen_image,
        z_image,
        wan,
    )
}


def tiny(build: Callable[..., Tiny], *given: Any) -> Tiny:
    """A pipeline whose weights, and embeddings, come from a seed; none of its layers is silent."""
    torch.manual_seed(0)
    made = build(*given)
    made.pipe.set_progress_bar_config(disable=True)
    for name in ("unet", "transformer", "transformer_2"):
        network = getattr(made.pipe, name, None)
        for weight in () if network is None else network.parameters():
            with torch.no_grad():
                weight.add_(torch.randn_like(weight) * 0.2)
    return made
