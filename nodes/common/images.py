"""Figures as the host's IMAGE."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def to_host(picture: Image.Image) -> Tensor:
    """A picture as IMAGE: float32 in 0..1, shape (1, H, W, 3)."""
    return torch.from_numpy(np.array(picture.convert("RGB"))).float()[None] / 255
