"""CLIP image features (arXiv 2103.00020) through open_clip, from a folder on disk: what a picture shows."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from .space import as_pictures, unit_vectors

CONFIG_NAME = "open_clip_config.json"
"""Name that open_clip gives to a saved model's configuration."""


class Clip:
    """The image tower of an open_clip model that was saved to a folder; nothing is ever downloaded.

    A picture is scaled to the model's square, its aspect ratio is not kept: every pixel counts.
    """

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        """Load the model.

        Args:
            folder: holds ``open_clip_config.json`` and one ``.safetensors`` file of weights.
            device: where to compute.

        Raises:
            ValueError: no such model there, or open_clip is not installed.
        """
        weights = sorted(folder.glob("*.safetensors"))
        if not (folder / CONFIG_NAME).is_file() or len(weights) != 1:
            raise ValueError(
                f"{folder} holds no open_clip model: expected {CONFIG_NAME} and one .safetensors file of weights, "
                "as the model's page on a model hub offers them."
            )
        try:
            import open_clip
        except ModuleNotFoundError as error:
            raise ValueError(f"CLIP features need {error.name}: pip install open_clip_torch brings it.") from error
        model: Any = open_clip.create_model(f"local-dir:{folder}", device=device)
        self._model = model.eval().requires_grad_(False)
        self._device = torch.device(device)
        size = model.visual.image_size
        self._size: tuple[int, int] = (size, size) if isinstance(size, int) else (size[0], size[1])
        self._mean = torch.tensor(model.visual.image_mean, device=device)[:, None, None]
        self._spread = torch.tensor(model.visual.image_std, device=device)[:, None, None]
        self._dimension = int(model.visual.output_dim)
        self._digest = _file_digest(weights[0])[:12]

    @property
    def tag(self) -> str:
        """Name of the space, with a hash of the weights."""
        return f"clip-v1:{self._digest}"

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._dimension

    @property
    def differentiable(self) -> bool:
        """Gradients flow to the pictures."""
        return True

    @property
    def duplicate_distance(self) -> float:
        """Distance below which two pictures are called near-duplicates."""
        return 0.3

    def __call__(self, items: Tensor) -> Tensor:
        """Unit vectors, shape (B, dimension), of pictures (B, 3, H, W) in 0 to 1 of any size, on the pictures' device.

        Raises:
            ValueError: another shape, or numbers that are not finite.
        """
        pictures = as_pictures(items).to(self._device)
        scaled = interpolate(pictures, self._size, mode="bicubic", antialias=True).clamp(0, 1)
        features = self._model.encode_image((scaled - self._mean) / self._spread)
        return unit_vectors(features).to(items.device)


def _file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
