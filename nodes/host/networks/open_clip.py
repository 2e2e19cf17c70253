"""The open_clip models in ComfyUI's folders, as feature spaces of images."""

from __future__ import annotations

from pathlib import Path

import folder_paths
import torch

from ....features.clip import CONFIG_NAME, Clip, require_open_clip

FOLDERS = "clip_vision"
"""ComfyUI's kind of the model folders that are searched."""

OPEN_CLIP = "open clip: "
"""Prefix of a feature space's name; the model's folder follows."""


def open_clip_folders() -> dict[str, Path]:
    """Folders of open_clip models, by their path below ComfyUI's model folder."""
    found: dict[str, Path] = {}
    for file in folder_paths.get_filename_list(FOLDERS):
        place = Path(file)
        name = place.parent.as_posix()
        if place.suffix != ".safetensors" or name in found:
            continue
        config = folder_paths.get_full_path(FOLDERS, str(place.parent / CONFIG_NAME))
        if config is not None:
            found[name] = Path(config).parent
    return found


def open_clip_spaces() -> tuple[str, ...]:
    """Names of the available feature spaces."""
    return tuple(f"{OPEN_CLIP}{name}" for name in open_clip_folders())


def check_open_clip(kind: str) -> None:
    """Check that a feature space is available.

    Raises:
        ValueError: the model does not exist, or open_clip is not installed.
    """
    _folder(kind)
    require_open_clip()


def open_clip_space(kind: str, device: torch.device) -> Clip:
    """The feature space of a name, loaded from disk.

    Raises:
        ValueError: the model does not exist or cannot be read, or open_clip is not installed.
    """
    return Clip(_folder(kind), device)


def _folder(kind: str) -> Path:
    """The folder of a model, from the list of known ones: a name from a workflow opens no other."""
    folder = open_clip_folders().get(kind.removeprefix(OPEN_CLIP))
    if folder is None:
        raise ValueError(
            f'There is no "{kind}" in the folders for {FOLDERS} models. A model needs a folder of its own there, with '
            f"{CONFIG_NAME} and a .safetensors file of weights."
        )
    return folder
