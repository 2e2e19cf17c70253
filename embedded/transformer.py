"""The embedded model's denoiser: Stable Diffusion 3's MMDiT (arXiv 2403.03206), as diffusers' `SD3Transformer2DModel`.

The file has the keys of Stability AI's own implementation, which ComfyUI loads unchanged. It has no `pos_embed`: the
positions are ComfyUI's grid for such models, whose shorter side spans 0..15, so that any resolution runs.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from safetensors.torch import load_file
from torch import Tensor, nn

from .assets_path import asset
from .lora import Lora
from .text import WIDTH

DEPTH = 4
HEAD_WIDTH = 64
LATENT_CHANNELS = 16
PATCH = 2
# Latents of the SD3 family enter the transformer as (raw - SHIFT) * SCALE.
LATENT_SCALE = 1.5305
LATENT_SHIFT = 0.0609

_TOP_MODULES = {
    "x_embedder.proj": ("pos_embed.proj",),
    "t_embedder.mlp.0": ("time_text_embed.timestep_embedder.linear_1",),
    "t_embedder.mlp.2": ("time_text_embed.timestep_embedder.linear_2",),
    "y_embedder.mlp.0": ("time_text_embed.text_embedder.linear_1",),
    "y_embedder.mlp.2": ("time_text_embed.text_embedder.linear_2",),
    "context_embedder": ("context_embedder",),
    "final_layer.linear": ("proj_out",),
    "final_layer.adaLN_modulation.1": ("norm_out.linear",),
}
_BLOCK_MODULES = {
    "x_block.adaLN_modulation.1": ("norm1.linear",),
    "x_block.attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "x_block.attn.ln_q": ("attn.norm_q",),
    "x_block.attn.ln_k": ("attn.norm_k",),
    "x_block.attn.proj": ("attn.to_out.0",),
    "x_block.mlp.fc1": ("ff.net.0.proj",),
    "x_block.mlp.fc2": ("ff.net.2",),
    "context_block.adaLN_modulation.1": ("norm1_context.linear",),
    "context_block.attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "context_block.attn.ln_q": ("attn.norm_added_q",),
    "context_block.attn.ln_k": ("attn.norm_added_k",),
    "context_block.attn.proj": ("attn.to_add_out",),
    "context_block.mlp.fc1": ("ff_context.net.0.proj",),
    "context_block.mlp.fc2": ("ff_context.net.2",),
}


def to_model_space(raw: Tensor) -> Tensor:
    """Raw VAE latents, as in ComfyUI's LATENT sockets, to the transformer's space."""
    return (raw - LATENT_SHIFT) * LATENT_SCALE


def to_raw_latents(latents: Tensor) -> Tensor:
    """Inverse of `to_model_space`."""
    return latents / LATENT_SCALE + LATENT_SHIFT


@lru_cache(maxsize=8)
def position_grid(height: int, width: int, channels: int) -> Tensor:
    """Sine-cosine positions of height x width patches, (1, height * width, channels): columns first, then rows.

    Each axis is centred on 7.5 and evenly spaced; the shorter one runs from 0 to 15.
    """
    shorter = min(height, width)
    reach_y, reach_x = 7.5 * height / shorter, 7.5 * width / shorter
    rows = torch.linspace(7.5 - reach_y, 7.5 + reach_y, height)
    columns = torch.linspace(7.5 - reach_x, 7.5 + reach_x, width)
    grid_rows, grid_columns = torch.meshgrid(rows, columns, indexing="ij")
    frequencies = 10000.0 ** -(torch.arange(channels // 4) / (channels / 4))
    waves = [torch.outer(grid.flatten(), frequencies) for grid in (grid_columns, grid_rows)]
    return torch.cat([part for wave in waves for part in (wave.sin(), wave.cos())], dim=1).unsqueeze(0)


class PatchEmbedding(nn.Module):
    """Patches to tokens plus `position_grid`, in place of diffusers' fixed grid."""

    def __init__(self, channels: int, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, kernel_size=patch, stride=patch)

    def forward(self, latent: Tensor) -> Tensor:
        """Latents (B, C, H, W) to tokens (B, (H / patch) * (W / patch), width)."""
        patches: Tensor = self.proj(latent)
        positions = position_grid(patches.shape[-2], patches.shape[-1], patches.shape[1])
        return patches.flatten(2).transpose(1, 2) + positions.to(patches)


def new_transformer(depth: int = DEPTH) -> SD3Transformer2DModel:
    """An untrained transformer; as in all SD3 models, the depth determines heads and width."""
    model = SD3Transformer2DModel(
        sample_size=8,
        patch_size=PATCH,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_layers=depth,
        num_attention_heads=depth,
        attention_head_dim=HEAD_WIDTH,
        joint_attention_dim=WIDTH,
        caption_projection_dim=depth * HEAD_WIDTH,
        pooled_projection_dim=WIDTH,
        pos_embed_max_size=8 // PATCH,
        qk_norm="rms_norm",
    )
    model.add_module("pos_embed", PatchEmbedding(LATENT_CHANNELS, depth * HEAD_WIDTH, PATCH))
    return model


def load_transformer(path: Path | None = None, lora: Path | None = None) -> SD3Transformer2DModel:
    """Load a safetensors file with native keys (default: the embedded one) in float32.

    Args:
        path: of the file.
        lora: to merge.

    Raises:
        ValueError: the LoRA is for another file.
    """
    path = path or asset("mmdit.safetensors")
    native = {key: value.float() for key, value in load_file(path).items()}
    if lora is not None:
        native = Lora.load(lora, path).merged(native)
    model = new_transformer(depth=native["x_embedder.proj.weight"].shape[0] // HEAD_WIDTH)
    model.load_state_dict(from_native(native))
    return model.eval().requires_grad_(False)


def from_native(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename native keys to diffusers' (separate query, key and value; scale before shift at the end)."""
    depth = state["x_embedder.proj.weight"].shape[0] // HEAD_WIDTH
    modules = _modules(depth)
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        native, _, leaf = key.rpartition(".")
        value = _swap_halves(value) if native in _scale_first(depth) else value
        parts = modules[native]
        renamed |= {f"{part}.{leaf}": chunk for part, chunk in zip(parts, value.chunk(len(parts)), strict=True)}
    return renamed


def to_native(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Inverse of `from_native`."""
    depth = state["pos_embed.proj.weight"].shape[0] // HEAD_WIDTH
    renamed: dict[str, Tensor] = {}
    for native, parts in _modules(depth).items():
        for leaf in ("weight", "bias"):
            if f"{parts[0]}.{leaf}" in state:
                value = torch.cat([state[f"{part}.{leaf}"] for part in parts])
                renamed[f"{native}.{leaf}"] = _swap_halves(value) if native in _scale_first(depth) else value
    return renamed


def _modules(depth: int) -> dict[str, tuple[str, ...]]:
    """Native module names, and the diffusers modules with the same parameters."""
    modules = dict(_TOP_MODULES)
    for block in range(depth):
        modules |= {
            f"joint_blocks.{block}.{native}": tuple(f"transformer_blocks.{block}.{part}" for part in parts)
            for native, parts in _BLOCK_MODULES.items()
        }
    return modules


def _scale_first(depth: int) -> set[str]:
    """Modules whose (shift, scale) is (scale, shift) in diffusers."""
    return {"final_layer.adaLN_modulation.1", f"joint_blocks.{depth - 1}.context_block.adaLN_modulation.1"}


def _swap_halves(value: Tensor) -> Tensor:
    first, second = value.chunk(2)
    return torch.cat([second, first])
