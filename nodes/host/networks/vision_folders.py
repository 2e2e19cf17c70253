"""The vision models that are folders in ComfyUI's folders, of open_clip or of transformers, as feature spaces."""

from __future__ import annotations

from pathlib import Path

import folder_paths
import torch

from ....features.content.clip import CONFIG_NAME, require_open_clip
from ....features.content.transformers_folder import is_vision_folder
from ....features.named import folder_space
from ....features.space import FeatureSpace

FOLDERS = "clip_vision"
"""ComfyUI's kind of the model folders that are searched; image encoders of its diffusers models are found, too."""

OPEN_CLIP, TRANSFORMERS = "open clip: ", "transformers: "
"""Prefixes of a feature space's name; the model's folder follows."""


def vision_folders() -> dict[str, Path]:
    """Folders of models, by the names of their feature spaces."""
    found: dict[str, Path] = {}
    places = {Path(file).parent for file in folder_paths.get_filename_list(FOLDERS) if file.endswith(".safetensors")}
    for place in sorted(places):
        if config := folder_paths.get_full_path(FOLDERS, str(place / CONFIG_NAME)):
            found[OPEN_CLIP + place.as_posix()] = Path(config).parent
            continue
        config = folder_paths.get_full_path(FOLDERS, str(place / "config.json"))
        if config and is_vision_folder(Path(config).parent):
            found[TRANSFORMERS + place.as_posix()] = Path(config).parent
    for root in map(Path, folder_paths.get_folder_paths("diffusers")):
        for folder in sorted(root.glob("*/image_encoder")):
            if is_vision_folder(folder):
                found.setdefault(TRANSFORMERS + folder.relative_to(root).as_posix(), folder)
    return found


def is_folder_space(kind: str) -> bool:
    """Whether a name is that of a model's folder."""
    return kind.startswith((OPEN_CLIP, TRANSFORMERS))


def check_vision_folder(kind: str) -> None:
    """Check that a feature space is available.

    Raises:
        ValueError: the model does not exist, or open_clip is not installed and transformers cannot read it.
    """
    if not is_vision_folder(_folder(kind)):
        require_open_clip()


def vision_folder_space(kind: str, device: torch.device) -> FeatureSpace:
    """The feature space of a name, loaded from disk.

    Raises:
        ValueError: the model does not exist or cannot be read, or the library that reads it is not installed.
    """
    return folder_space(_folder(kind), device)


def _folder(kind: str) -> Path:
    """The folder of a model, from the list of known ones: a name from a workflow opens no other."""
    folder = vision_folders().get(kind)
    if folder is None:
        raise ValueError(
            f'There is no "{kind}" in the folders for {FOLDERS} models. A model needs a folder of its own there, with '
            f"{CONFIG_NAME} or config.json and a .safetensors file of weights."
        )
    return folder
