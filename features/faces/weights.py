"""The layers of the face networks, stored in eight bits with a scale and an offset for every filter."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor
from torch.nn.functional import conv2d

MEAN_COLOUR = (122.782, 117.001, 104.298)
"""Mean RGB of the training images of faces, of 255."""

ASSETS = Path(__file__).with_name("assets")


class Layers:
    """Convolutions by name, computed in float32.

    Args:
        network: name of its file.
        device: of the computation.

    Raises:
        ValueError: the file of weights is missing.
    """

    def __init__(self, network: str, device: torch.device | str = "cpu") -> None:
        path = ASSETS / f"{network}.safetensors"
        if not path.is_file():
            raise ValueError(f"Faces cannot be compared: {path} is missing. Install the pack anew, or leave faces out.")
        stored = safetensors.torch.load_file(path)
        self.device = torch.device(device)
        self._biases = {
            name.removesuffix(".bias"): bias.to(device) for name, bias in stored.items() if name.endswith(".bias")
        }
        self._weights = {name: self._restored(stored, name).to(device) for name in self._biases}

    def centred(self, images: Tensor, colour: tuple[float, float, float], by: float = 255) -> Tensor:
        """Images (B, 3, H, W) in 0 to 1 on the device: levels less a mean colour, divided by a number."""
        mean = torch.tensor(colour, device=self.device).view(3, 1, 1)
        return (images.to(self.device, torch.float32) * 255 - mean) / by

    @staticmethod
    def _restored(stored: dict[str, Tensor], name: str) -> Tensor:
        weight = stored[f"{name}.weight"].float()
        if f"{name}.scale" not in stored:
            return weight
        scale, offset = (stored[f"{name}.{part}"].view(-1, 1, 1, 1) for part in ("scale", "offset"))
        return weight * scale + offset

    def __call__(self, name: str, maps: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
        """A convolution of maps (B, C, H, W); one with a single input channel filters every channel by itself."""
        weight = self._weights[name]
        groups = maps.shape[1] if weight.shape[1] == 1 else 1
        return conv2d(maps, weight, self._biases[name], stride, padding, groups=groups)
