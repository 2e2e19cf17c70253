"""Where the stores lie: folders that extra_model_paths.yaml can move, and that are no models to the host."""

from __future__ import annotations

from pathlib import Path

import folder_paths

_PLACES: dict[str, Path] = {}


def claim_folder(name: str, default: Path) -> None:
    """Take a folder that the user configured out of the host's models, whose library would list all files in it.

    Args:
        name: the entry in extra_model_paths.yaml, which the host has read by now.
        default: where it lies without one.
    """
    configured, _ = folder_paths.folder_names_and_paths.pop(name, ([], set()))
    _PLACES[name] = Path(configured[0]) if configured else default


def store_folder(name: str) -> Path:
    """The folder of this name."""
    return _PLACES[name]
