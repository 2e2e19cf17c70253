"""Small previews of latents: decoded where a VAE is at hand, else by the host's linear preview of their format."""

from __future__ import annotations

from functools import cache
from typing import Any

import comfy.sd
import comfy.utils
import torch
from torch import Tensor

from ...embedded.assets_path import asset
from ...embedded.latent_space import LATENT_FORMAT
from ...features.latent_preview import linear_preview
from ...indexing.bank.previews import thumbnails
from ..common.images import rgb_images
from .active_run import INTERRUPTS
from .messages import logger
from .networks.embedded_model import format_of


def thumbnails_of(images: Tensor, count: int) -> Tensor:
    """Thumbnails (count, h, w, 3), uint8, of images (count * frames, H, W, C) in 0..1: each one's first frame.

    Raises:
        ValueError: the images do not belong to the latents.
    """
    if len(images) % count:
        raise ValueError(f"There are {len(images)} images for {count} latents. Connect the decoded samples.")
    return thumbnails(rgb_images(images)[:: len(images) // count].float())


def thumbnails_of_latents(latents: Tensor, model: Any, vae: Any = None) -> Tensor | None:
    """Thumbnails (B, h, w, 3), uint8, of raw latents (B, C, ...): of videos, the first frame.

    Args:
        latents: the latents.
        model: the MODEL that made them.
        vae: its VAE, if it is connected.

    Returns:
        None where there is neither a VAE that decodes them nor a linear preview of their format.
    """
    if vae is None and format_of(model) == LATENT_FORMAT:
        vae = embedded_vae()
    if vae is not None and getattr(vae, "latent_channels", latents.shape[1]) == latents.shape[1]:
        try:
            return torch.cat([thumbnails(first_frame(vae, latent[None])) for latent in latents])
        except INTERRUPTS:
            raise
        except Exception as error:
            # A preview is not worth the images.
            logger.warning("The VAE could not decode the previews for the Memory Bank: %s", error)
    first = latents[:, :, :1] if latents.ndim == 5 else latents
    preview = _linear(first, model.model.latent_format)
    return None if preview is None else thumbnails(preview)


@cache
def embedded_vae() -> Any:
    """The embedded model's VAE."""
    return comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(asset("vae.safetensors")), safe_load=True))


def first_frame(vae: Any, latent: Tensor) -> Tensor:
    """The image (1, 3, H, W) in 0..1 of one raw latent (1, C, ...): of a video, its first frame."""
    latent = latent[:, :, :1] if latent.ndim == 5 else latent
    if latent.ndim == 4 and getattr(vae, "latent_dim", 2) == 3:
        latent = latent.unsqueeze(2)
    images: Tensor = vae.decode(latent)
    return rgb_images(images.reshape(-1, *images.shape[-3:])[:1]).float().cpu()


def _linear(latents: Tensor, latent_format: Any) -> Tensor | None:
    """The host's linear preview (B, 3, h, w) in 0..1 of raw latents."""
    factors = getattr(latent_format, "latent_rgb_factors", None)
    if factors is None:
        return None
    values = latent_format.process_in(latents.float().cpu())
    reshape = getattr(latent_format, "latent_rgb_factors_reshape", None)
    values = values if reshape is None else reshape(values)
    values = values[:, :, 0] if values.ndim == 5 else values
    if values.ndim != 4 or values.shape[1] != len(factors):
        return None
    bias = getattr(latent_format, "latent_rgb_factors_bias", None)
    return linear_preview(values, torch.tensor(factors), torch.zeros(3) if bias is None else torch.tensor(bias))
