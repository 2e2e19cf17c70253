"""The latent space of a pipeline: ComfyUI's name of its format, its VAE, and the map from raw VAE latents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..embedded.latent_space import LATENT_FORMAT as EMBEDDED
from ..embedded.latent_space import autoencoder_fingerprint
from ..features.fingerprint import network_fingerprint

LAID_OUT_AS_EMBEDDED = "SD3"


@dataclass(frozen=True)
class LatentSpace:
    """A latent space; the model's latents are (raw - ``mean``) * ``scale``.

    Attributes:
        name: of the latent format, as in ComfyUI.
        encoder: fingerprint of the VAE; "" where it has no weights.
        mean: shape (C, 1, ...), or a single number.
        scale: as ``mean``.
    """

    name: str
    encoder: str
    mean: Tensor
    scale: Tensor

    def to_model(self, raw: Tensor) -> Tensor:
        """Raw VAE latents (B, C, ...) to the model's space."""
        return (raw - self.mean.to(raw)) * self.scale.to(raw)

    def to_raw(self, latents: Tensor) -> Tensor:
        """Inverse of ``to_model``."""
        return latents / self.scale.to(latents) + self.mean.to(latents)


def latent_space(vae: Any, name: str) -> LatentSpace:
    """The space of a pipeline's latents.

    Args:
        vae: of the pipeline.
        name: of the latent format that its family has.

    Raises:
        ValueError: there is no VAE.
    """
    if vae is None:
        raise ValueError("This pipeline has no VAE, so its latents are not known. Load it with its VAE.")
    try:
        encoder = network_fingerprint(vae)
    except (ValueError, NotImplementedError):
        encoder = ""  # its weights are elsewhere, such as on disk
    if name == LAID_OUT_AS_EMBEDDED and encoder == autoencoder_fingerprint():
        name = EMBEDDED
    if name == "Flux2":
        # Its raw latents are normalised already, as ComfyUI's VAE gives them.
        return LatentSpace(name, encoder, torch.tensor(0.0), torch.tensor(1.0))
    config = vae.config
    factor, shift = config.get("scaling_factor", None) or 1.0, config.get("shift_factor", None) or 0.0
    means, deviations = config.get("latents_mean", None), config.get("latents_std", None)
    if means is None:
        return LatentSpace(name, encoder, torch.tensor(float(shift)), torch.tensor(float(factor)))
    if name == "Wan21" and len(means) == 48:
        name = "Wan22"
    # Videos have an axis of frames, images none.
    shape = (-1, 1, 1, 1) if name.startswith("Wan") else (-1, 1, 1)
    factor = 1.0 if name.startswith("Wan") else factor
    return LatentSpace(name, encoder, torch.tensor(means).view(shape), factor / torch.tensor(deviations).view(shape))
