"""Where feature centroids live: the host's folder ``diversity_centroids``, which extra_model_paths.yaml can move."""

from __future__ import annotations

from pathlib import Path

import folder_paths

from ...stores.files import validate_name
from .store_folders import claim_folder, store_folder

FOLDER = "diversity_centroids"


def register_centroid_folder() -> None:
    """Find out where the folder is: by default in the user directory, which updates of packs leave alone."""
    claim_folder(FOLDER, Path(folder_paths.get_user_directory()) / FOLDER)


def centroid_path(name: str) -> Path:
    """The file of the centroid of this name, whether it exists or not.

    Raises:
        ValueError: the name is not fit.
    """
    return store_folder(FOLDER) / f"{validate_name(name, 'centroid')}.safetensors"
