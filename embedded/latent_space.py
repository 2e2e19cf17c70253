"""What the embedded model's latents are told apart by. Needs torch and safetensors only, as the ComfyUI nodes do."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file

from ..features.fingerprint import encoder_fingerprint
from .assets_path import asset

LATENT_FORMAT = "SD3Emoji"
"""Laid out as Stable Diffusion 3's latents and made by another autoencoder: no bank or index holds both."""


def autoencoder_fingerprint(path: Path | None = None) -> str:
    """The fingerprint of the latents of such a file (default: the embedded one), the same as that of a host's VAE."""
    return encoder_fingerprint(load_file(path or asset("vae.safetensors")))
