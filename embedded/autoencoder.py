"""The embedded model's autoencoder: TAESD's layout (github.com/madebyollin/taesd) as diffusers' `AutoencoderTiny`.

The file holds TAESD's keys and two scalars that ComfyUI reads, `vae_scale` and `vae_shift`. They map the latents into
the range of Stable Diffusion 3's, whose latent format then gives the transformer zero mean and unit variance.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from safetensors.torch import load_file
from torch import Tensor

from .assets_path import asset

LATENT_CHANNELS = 16
DOWNSCALE = 8


class Autoencoder:
    """Images in 0..1 to raw latents, the space of ComfyUI's LATENT sockets, and back."""

    def __init__(self, network: AutoencoderTiny, scale: float, shift: float) -> None:
        self.network = network
        self.scale = scale
        self.shift = shift

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Raw latents (B, 16, H / 8, W / 8) of images (B, 3, H, W) in 0..1."""
        encoded: Tensor = self.network.encode(images * 2 - 1, return_dict=False)[0]
        return encoded / self.scale + self.shift

    @torch.no_grad()
    def decode(self, raw: Tensor) -> Tensor:
        """Images (B, 3, 8 H, 8 W) in 0..1 of raw latents (B, 16, H, W)."""
        decoded: Tensor = self.network.decode((raw - self.shift) * self.scale, return_dict=False)[0]
        return (decoded / 2 + 0.5).clamp(0, 1)


def load_autoencoder(path: Path | None = None) -> Autoencoder:
    """Load a safetensors file with TAESD's keys (default: the embedded one) in float32."""
    state = {key: value.float() for key, value in load_file(path or asset("vae.safetensors")).items()}
    scale, shift = (float(state.pop(key)) for key in ("vae_scale", "vae_shift"))
    network = AutoencoderTiny(latent_channels=LATENT_CHANNELS)
    network.load_state_dict(from_taesd(state))
    return Autoencoder(network.eval().requires_grad_(False), scale, shift)


def from_taesd(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename TAESD's keys to diffusers', whose decoder does not count the clamp at the start."""
    renamed = {}
    for key, value in state.items():
        part, layer, rest = key.split(".", 2)
        if part == "taesd_encoder":
            renamed[f"encoder.layers.{layer}.{rest}"] = value
        else:
            renamed[f"decoder.layers.{int(layer) - 1}.{rest}"] = value
    return renamed
