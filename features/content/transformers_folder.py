"""CLIP, SigLIP and DINOv2 (arXiv 2103.00020, 2303.15343, 2304.07193) by transformers, from a folder on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..space import as_images, unit_vectors
from .clip import file_digest

CONFIG, PREPROCESSOR, WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"
"""Names that transformers gives to a saved model's files."""

_CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LARGEST = 224  # side of images for DINOv2, whose positions fit any


class _Kind(NamedTuple):
    """How a kind of model is loaded and asked."""

    network: str
    output: str
    mean: tuple[float, float, float]
    spread: tuple[float, float, float]


_KINDS = {
    "clip": _Kind("CLIPVisionModelWithProjection", "image_embeds", *_CLIP),
    "clip_vision_model": _Kind("CLIPVisionModelWithProjection", "image_embeds", *_CLIP),
    "siglip": _Kind("SiglipVisionModel", "pooler_output", *_HALF),
    "siglip_vision_model": _Kind("SiglipVisionModel", "pooler_output", *_HALF),
    "dinov2": _Kind("Dinov2Model", "pooler_output", *_IMAGENET),
}


def is_vision_folder(folder: Path) -> bool:
    """Whether a folder holds a CLIP, SigLIP or DINOv2 model as transformers saves it, with safetensors weights."""
    try:
        return (folder / WEIGHTS).is_file() and _read(folder / CONFIG).get("model_type") in _KINDS
    except ValueError:
        return False


class TransformersVision:
    """The image tower of a model that was saved to a folder; nothing is downloaded, no code of the folder is run.

    An image is scaled to the model's square without keeping its aspect ratio: every pixel counts. The tag holds a hash
    of the weights.
    """

    differentiable = True
    duplicate_distance = 0.3

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        """Load the model.

        Args:
            folder: holds ``config.json`` and ``model.safetensors``, and ``preprocessor_config.json`` where the numbers
                for normalisation are not the usual ones.
            device: where to compute.

        Raises:
            ValueError: the folder holds no such model, its parts do not fit, or transformers is not installed.
        """
        config = _read(folder / CONFIG)
        kind = _KINDS.get(config.get("model_type", ""))
        if kind is None or not (weights := folder / WEIGHTS).is_file():
            raise ValueError(
                f"{folder} holds no CLIP, SigLIP or DINOv2 model: expected {CONFIG} and {WEIGHTS}, as the model's page "
                "on a model hub offers them."
            )
        self._network = _loaded(folder, kind, config).to(device).eval().requires_grad_(False)
        self._device, self._output = torch.device(device), kind.output
        settings = _read(folder / PREPROCESSOR) if (folder / PREPROCESSOR).is_file() else {}
        self._side = int(self._network.config.image_size)
        if config["model_type"] == "dinov2":
            self._side = min(self._side, _LARGEST)
        used = settings.get("image_mean", kind.mean), settings.get("image_std", kind.spread)
        try:
            self._mean, self._spread = (torch.tensor(each, device=device).view(3, 1, 1) for each in used)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{folder / PREPROCESSOR} is no configuration of three colours.") from error
        state = weights.stat()
        self.tag = (
            f"transformers-{config['model_type']}-v1:{file_digest(weights, state.st_size, state.st_mtime_ns)[:12]}"
        )
        with torch.no_grad():
            self.dimension = self(torch.zeros(1, 3, self._side, self._side)).shape[1]

    def __call__(self, items: Tensor) -> Tensor:
        """Unit vectors, shape (B, dimension), of images (B, 3, H, W) in 0 to 1 of any size, on the images' device.

        Raises:
            ValueError: another shape, or numbers that are not finite.
        """
        images = as_images(items).to(self._device)
        scaled = interpolate(images, (self._side, self._side), mode="bicubic", antialias=True).clamp(0, 1)
        found = self._network(pixel_values=(scaled - self._mean) / self._spread)
        return unit_vectors(getattr(found, self._output)).to(items.device)


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{file.parent} holds no {file.name}.") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{file} is no configuration of a model.")
    return found


def _loaded(folder: Path, kind: _Kind, config: Mapping[str, Any]) -> Any:
    """The network in float32, from its safetensors alone."""
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise ValueError(f"The model in {folder} needs {error.name}: pip install transformers brings it.") from error
    # A whole CLIP tells the size of its embeddings beside the image tower's configuration, not in it.
    size = {"projection_dim": config["projection_dim"]} if "projection_dim" in config else {}
    messages = transformers.utils.logging
    verbosity = messages.get_verbosity()
    messages.set_verbosity_error()
    try:
        network, told = getattr(transformers, kind.network).from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            attn_implementation="sdpa",
            dtype=torch.float32,
            output_loading_info=True,
            **size,
        )
    except Exception as error:  # The library raises whatever it meets in another's files.
        raise ValueError(f"The model in {folder} cannot be loaded: {error}") from error
    finally:
        messages.set_verbosity(verbosity)
    if missing := sorted(told["missing_keys"]):
        raise ValueError(f"The weights in {folder / WEIGHTS} do not fit {CONFIG} beside them: {missing[0]} is missing.")
    return network
