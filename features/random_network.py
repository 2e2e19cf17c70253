"""A convolutional network of random weights as a feature space, without a download (arXiv 2411.16171, table 4).

Of all feature extractors compared there, the randomly initialised network lets real images retrieve most of a training
set, so its measurement gap is smallest. It responds to colour, layout and texture, not to meaning.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, conv2d, interpolate, pad

from .space import as_images, unit_vectors

INPUT_SIZE = 64
"""Every image is scaled to a square of this side, in pixels."""

_LAYERS = ((3, 32, 5), (32, 64, 3), (64, 128, 3), (128, 128, 3))  # channels in, channels out, kernel size
_POOLED_SIZE = 2
# Gain of the filters before the tangent: deep layers neither fade nor saturate.
_GAIN = 1.4


class RandomNetwork:
    """Four strided convolutions of Gaussian weights with hyperbolic tangents, averaged over quarters of the image.

    The odd activation keeps features centred; with ReLU all similarities would crowd near 1. The weights are the same
    on every machine and with every version of NumPy and torch.
    """

    dimension = _LAYERS[-1][1] * _POOLED_SIZE**2
    differentiable = True
    duplicate_distance = 0.12

    def __init__(self, seed: int = 0) -> None:
        """Draw the weights.

        Args:
            seed: of the weights; another seed is another space.
        """
        self.tag = f"random-network-v1:seed{seed}"
        # NumPy's policy freezes the raw stream of a bit generator, but not its normal numbers.
        stream = np.random.PCG64(seed)
        self._weights = [_gaussian_filters(stream, *layer) for layer in _LAYERS]

    def __call__(self, items: Tensor) -> Tensor:
        """Unit vectors, shape (B, 512), of images (B, 3, H, W) in 0 to 1 of any size.

        Raises:
            ValueError: another shape, or numbers that are not finite.
        """
        scaled = interpolate(as_images(items), (INPUT_SIZE, INPUT_SIZE), mode="bilinear", antialias=True)
        maps = 2 * scaled - 1
        for weights in self._weights:
            margin = weights.shape[-1] // 2
            maps = conv2d(pad(maps, [margin] * 4, mode="replicate"), weights.to(maps.device), stride=2)
            maps = torch.tanh(maps)
        return unit_vectors(adaptive_avg_pool2d(maps, _POOLED_SIZE))


def _gaussian_filters(stream: np.random.PCG64, channels_in: int, channels_out: int, size: int) -> Tensor:
    """Filters (channels_out, channels_in, size, size) that preserve the variance of their input."""
    shape = (channels_out, channels_in, size, size)
    # 53 bits a number, shifted by half a step so that 0 and 1 never occur.
    uniform = ((stream.random_raw(math.prod(shape)) >> 11) + 0.5) / 2**53
    scale = math.sqrt(channels_in * size**2) / _GAIN
    return torch.from_numpy((ndtri(uniform) / scale).reshape(shape).astype(np.float32))
