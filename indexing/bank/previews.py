"""Small previews of images, as stores keep them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

SIDE = 128
"""Longest side in pixels."""


def thumbnails(images: Tensor) -> Tensor:
    """Previews (N, h, w, 3), uint8, on the CPU, of images (N, 3, H, W) in 0..1; smaller images keep their size."""
    images = images.float()
    scale = min(SIDE / max(images.shape[-2:]), 1.0)
    size = [max(round(side * scale), 1) for side in images.shape[-2:]]
    small = interpolate(images, size=size, mode="bilinear", antialias=True) if scale < 1 else images
    return (small.clamp(0, 1) * 255).round().to("cpu", torch.uint8).movedim(1, -1)
