"""Where eyes and mouth are in a face: by face-api.js's *68 point tiny* network, three small dense blocks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from .weights import MEAN_COLOUR, Layers

SIDE = 112
"""Side of the square in which a face is looked at, in pixels."""

_LEFT_EYE, _RIGHT_EYE, _MOUTH = slice(36, 42), slice(42, 48), slice(48, 68)  # of the 68 points


class FaceLandmarks:
    """The network."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        """Load the weights.

        Args:
            device: of the computation.

        Raises:
            ValueError: the file of weights is missing.
        """
        self._layers = Layers("landmarks", device)

    def __call__(self, faces: Tensor) -> Tensor:
        """Centres (B, 3, 2) of left eye, right eye and mouth as x and y in 0 to 1, of faces (B, 3, SIDE, SIDE)."""
        maps = self._layers.centred(faces, MEAN_COLOUR)
        for block in range(3):
            maps = self._dense(block, maps)
        points = self._layers("head", maps.mean((2, 3), keepdim=True)).view(-1, 68, 2)
        return torch.stack([points[:, part].mean(1) for part in (_LEFT_EYE, _RIGHT_EYE, _MOUTH)], 1)

    def _dense(self, block: int, maps: Tensor) -> Tensor:
        """Three convolutions, each of the sum of those before it; the first halves the maps."""
        first = self._same("stem", maps, 2) if block == 0 else self._separable(f"blocks.{block}.0", maps, 2)
        first = first.relu()
        second = self._separable(f"blocks.{block}.1", first)
        third = self._separable(f"blocks.{block}.2", (first + second).relu())
        return (first + second + third).relu()

    def _separable(self, name: str, maps: Tensor, stride: int = 1) -> Tensor:
        return self._layers(f"{name}.pointwise", self._same(f"{name}.depthwise", maps, stride))

    def _same(self, name: str, maps: Tensor, stride: int) -> Tensor:
        """Padded as TensorFlow does: with stride 2 and an even side, at the end alone."""
        if stride == 1:
            return self._layers(name, maps, padding=1)
        return self._layers(name, pad(maps, (0, 1, 0, 1)), stride)
