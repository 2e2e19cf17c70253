"""EfficientNet-Lite0 as a feature space: what an image shows, without a download.

The network (arXiv 1905.11946 without squeeze-and-excitation and with ReLU6) names the thousand kinds of ImageNet. The
numbers before its last layer are close for images of the same kind of thing, whatever their colours and layout.
"""

from __future__ import annotations

import math
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pad

from ..space import as_images, unit_vectors

WEIGHTS = Path(__file__).with_name("assets") / "efficientnet_lite0.safetensors"
INPUT_SIZE = 224
"""Every image is scaled to a square of this side, in pixels."""

_STAGES = ((1, 3, 1), (2, 3, 2), (2, 5, 2), (3, 3, 2), (3, 5, 1), (4, 5, 2), (1, 3, 1))  # blocks, kernel size, stride


class ContentNetwork:
    """EfficientNet-Lite0 up to its averaged channels.

    Images of one kind of thing are near one another whatever their colours. docs/report.md says how well attributes
    are told apart.
    """

    dimension = 1280
    differentiable = True
    duplicate_distance = 0.3
    tag = "efficientnet-lite0-v1"

    def __init__(self, device: torch.device | str = "cpu") -> None:
        """Load the weights.

        Args:
            device: of the computation.

        Raises:
            OSError: the file of weights is missing.
        """
        stored = safetensors.torch.load_file(WEIGHTS)
        self._weights = {name: weight.to(device, torch.float32) for name, weight in stored.items()}

    def __call__(self, items: Tensor) -> Tensor:
        """Unit vectors, shape (B, 1280), of images (B, 3, H, W) in 0 to 1 of any size.

        Raises:
            ValueError: another shape, or numbers that are not finite.
        """
        device = self._weights["stem.weight"].device
        images = as_images(items).to(device)
        maps = interpolate(images, (INPUT_SIZE, INPUT_SIZE), mode="bilinear", antialias=True)
        maps = self._layer("stem", (maps * 255 - 127) / 128, stride=2).clamp(0, 6)
        number = 0
        for blocks, size, stride in _STAGES:
            for place in range(blocks):
                maps = self._block(f"blocks.{number}", maps, size, stride if place == 0 else 1)
                number += 1
        return unit_vectors(self._layer("head", maps).clamp(0, 6).mean((2, 3)))

    def _block(self, name: str, maps: Tensor, size: int, stride: int) -> Tensor:
        """Widen, filter each channel, narrow; added to the input where the shapes agree."""
        wide = maps
        if f"{name}.expand.weight" in self._weights:
            wide = self._layer(f"{name}.expand", maps).clamp(0, 6)
        wide = self._layer(f"{name}.depthwise", wide, size, stride, wide.shape[1]).clamp(0, 6)
        narrow = self._layer(f"{name}.project", wide)
        return narrow + maps if narrow.shape == maps.shape else narrow

    def _layer(self, name: str, maps: Tensor, size: int = 0, stride: int = 1, groups: int = 1) -> Tensor:
        """A convolution with its normalisation folded in, padded as TensorFlow does."""
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        size = size or weight.shape[-1]
        height, width = (max((math.ceil(side / stride) - 1) * stride + size - side, 0) for side in maps.shape[-2:])
        padded = pad(maps, (width // 2, width - width // 2, height // 2, height - height // 2))
        return conv2d(padded, weight, bias, stride, groups=groups)
