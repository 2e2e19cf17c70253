"""Feature spaces of images by name, as the command line and the nodes offer them."""

from __future__ import annotations

from pathlib import Path

from .clip import Clip
from .colour_layout import ColourLayout
from .content.network import ContentNetwork
from .random_network import RandomNetwork
from .space import FeatureSpace

CLIP_PREFIX = "clip:"
"""Followed by the folder of an open_clip model."""

SPACE_NAMES = ("random", "layout", "content")
"""Spaces that come with the package; the first is the default."""


def image_space(name: str) -> FeatureSpace:
    """The space of a name: ``random``, ``layout``, ``content`` or ``clip:<folder>``.

    Raises:
        ValueError: an unknown name, or a folder without a model.
    """
    if name.startswith(CLIP_PREFIX):
        return Clip(Path(name.removeprefix(CLIP_PREFIX)).expanduser())
    if name == "random":
        return RandomNetwork()
    if name == "layout":
        return ColourLayout()
    if name == "content":
        return ContentNetwork()
    raise ValueError(f"{name!r} is no feature space: choose one of {', '.join(SPACE_NAMES)} or {CLIP_PREFIX}FOLDER.")
