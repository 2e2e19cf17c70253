"""Conversions to and from the host's IMAGE, and to latents."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

SMALLEST = 32
"""Width or height below which an error while encoding is put down to the size: VAEs scale down 8 to 32 times."""


def to_host(image: Image.Image) -> Tensor:
    """An image as IMAGE: float32 in 0..1, shape (1, H, W, 3)."""
    return torch.from_numpy(np.array(image.convert("RGB"))).float()[None] / 255


def rgb_images(images: Tensor) -> Tensor:
    """The colours (B, 3, H, W) of an IMAGE (B, H, W, C); greys are repeated, and alpha is left out.

    Raises:
        ValueError: it is no batch of images of one to four channels.
    """
    if images.ndim != 4 or images.shape[-1] not in (1, 2, 3, 4) or not images.numel():
        raise ValueError(
            f"The images are of shape {tuple(images.shape)}. Connect a batch (B, H, W, 3) of colour images."
        )
    colours = images[..., :3] if images.shape[-1] > 2 else images[..., :1].expand(-1, -1, -1, 3)
    return colours.movedim(-1, 1)


def encoded(vae: Any, images: Tensor) -> Tensor:
    """Raw latents (B, C, ...) that a VAE makes of colours (B, 3, H, W) in 0..1, one by one.

    To the VAE of a video model, a batch of images is one video.

    Raises:
        ValueError: the images are smaller than the VAE can read.
    """
    height, width = images.shape[-2:]
    try:
        return torch.cat([vae.encode(image[None]) for image in images.movedim(1, -1)])
    except RuntimeError as error:
        if min(height, width) >= SMALLEST:
            raise
        raise ValueError(
            f"The VAE cannot read images of {width} x {height} pixels: give larger ones ({error})."
        ) from error
