"""CLIP image embeddings (arXiv 2103.00020) by open_clip, from a folder on disk."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..space import as_images, unit_vectors

CONFIG_NAME = "open_clip_config.json"
"""Name that open_clip gives to a saved model's configuration."""

WEIGHTS_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")
"""Names that open_clip gives to a saved model's weights, in the order in which they are looked for."""


def weights_of(folder: Path) -> Path:
    """The weights file of an open_clip model that was saved to a folder.

    Raises:
        ValueError: the configuration or the weights are missing, or there are several files of other names.
    """
    found = sorted(folder.glob("*.safetensors"))
    named = [folder / name for name in WEIGHTS_NAMES if folder / name in found]
    if not (folder / CONFIG_NAME).is_file() or not (named or len(found) == 1):
        raise ValueError(
            f"{folder} holds no open_clip model: expected {CONFIG_NAME} and one .safetensors file of weights, "
            "as the model's page on a model hub offers them."
        )
    return (named or found)[0]


def require_open_clip() -> Any:
    """Import open_clip.

    Raises:
        ValueError: it or one of its dependencies is not installed.
    """
    try:
        import open_clip
    except ModuleNotFoundError as error:
        raise ValueError(f"CLIP features need {error.name}: pip install open_clip_torch brings it.") from error
    return open_clip


class Clip:
    """The image tower of an open_clip model that was saved to a folder; nothing is ever downloaded.

    An image is scaled to the model's square without keeping its aspect ratio: every pixel counts. The tag holds a hash
    of the weights.
    """

    differentiable = True
    duplicate_distance = 0.3

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        """Load the model.

        Args:
            folder: holds ``open_clip_config.json`` and a ``.safetensors`` file of weights; no other weights are read.
            device: where to compute.

        Raises:
            ValueError: the folder holds no complete model (nothing is fetched from a model hub), or open_clip is not
                installed.
        """
        weights = weights_of(folder)
        open_clip = require_open_clip()
        _check_complete(folder)
        # open_clip on its own would prefer some pickled files to weights of an unknown name.
        model: Any = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)
        try:
            open_clip.load_checkpoint(model, str(weights))
        except (RuntimeError, KeyError) as error:
            raise ValueError(f"The weights in {weights} do not fit {CONFIG_NAME} beside them: {error}") from error
        model = model.to(device)
        self._model = model.eval().requires_grad_(False)
        self._device = torch.device(device)
        size = model.visual.image_size
        self._size: tuple[int, int] = (size, size) if isinstance(size, int) else (size[0], size[1])
        self._mean = torch.tensor(model.visual.image_mean, device=device)[:, None, None]
        self._spread = torch.tensor(model.visual.image_std, device=device)[:, None, None]
        self.dimension = int(model.visual.output_dim)
        state = weights.stat()
        self.tag = f"clip-v1:{file_digest(weights, state.st_size, state.st_mtime_ns)[:12]}"

    def __call__(self, items: Tensor) -> Tensor:
        """Unit vectors, shape (B, dimension), of images (B, 3, H, W) in 0 to 1 of any size, on the images' device.

        Raises:
            ValueError: another shape, or numbers that are not finite.
        """
        images = as_images(items).to(self._device)
        scaled = interpolate(images, self._size, mode="bicubic", antialias=True).clamp(0, 1)
        features = self._model.encode_image((scaled - self._mean) / self._spread)
        return unit_vectors(features).to(items.device)


def _check_complete(folder: Path) -> None:
    """Refuse configurations whose parts would be downloaded."""
    try:
        config = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))["model_cfg"]
        elsewhere = "hf_model_name" in config["text_cfg"] or ":" in config["vision_cfg"].get("timm_model_name", "")
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"{folder / CONFIG_NAME} is no configuration of an open_clip model.") from error
    if elsewhere:
        raise ValueError(
            f"Part of the model in {folder} would be fetched from a model hub, and nothing is downloaded here: choose "
            "an open_clip model that is complete in its folder."
        )


@lru_cache(maxsize=8)
def file_digest(path: Path, size: int, modified: int) -> str:
    """SHA-256 of a file, cached until its size or time changes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
