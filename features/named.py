"""Feature spaces of images by name, as the command line and the nodes offer them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch

from .colour_layout import ColourLayout
from .content.clip import CONFIG_NAME, Clip
from .content.network import ContentNetwork
from .content.transformers_folder import TransformersVision, is_vision_folder
from .random_network import RandomNetwork
from .space import FeatureSpace

CLIP_PREFIX = "clip:"
"""Followed by the folder of an open_clip model, or of a CLIP, SigLIP or DINOv2 model of transformers."""

SPACE_NAMES = ("random", "layout", "content")
"""Spaces that come with the package; the first is the default."""


def folder_space(folder: Path, device: torch.device | str = "cpu") -> FeatureSpace:
    """The model of a folder: read by open_clip, or by transformers where the files are its own or open_clip is missing.

    Raises:
        ValueError: the folder holds no complete model, or neither library that reads it is installed.
    """
    of_open_clip = (folder / CONFIG_NAME).is_file() and find_spec("open_clip") is not None
    if is_vision_folder(folder) and not of_open_clip:
        return TransformersVision(folder, device)
    return Clip(folder, device)


def image_space(name: str) -> FeatureSpace:
    """The space of a name: ``random``, ``layout``, ``content`` or ``clip:<folder>``.

    Raises:
        ValueError: an unknown name, or a folder without a model.
    """
    if name.startswith(CLIP_PREFIX):
        return folder_space(Path(name.removeprefix(CLIP_PREFIX)).expanduser())
    if name == "random":
        return RandomNetwork()
    if name == "layout":
        return ColourLayout()
    if name == "content":
        return ContentNetwork()
    raise ValueError(f"{name!r} is no feature space: choose one of {', '.join(SPACE_NAMES)} or {CLIP_PREFIX}FOLDER.")
