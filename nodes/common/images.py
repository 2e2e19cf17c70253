"""The host's IMAGE: figures as one, and one as colours."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def to_host(picture: Image.Image) -> Tensor:
    """A picture as IMAGE: float32 in 0..1, shape (1, H, W, 3)."""
    return torch.from_numpy(np.array(picture.convert("RGB"))).float()[None] / 255


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
