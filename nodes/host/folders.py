"""Where the stores are: folders of the host that extra_model_paths.yaml can move."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

import folder_paths

from ...stores.bank.bank import DEFAULT_CAPACITY, MemoryBank
from ...stores.bank.maintenance import directory
from ...stores.files import digest_of_own, validate_name
from ...stores.protected.index import ProtectedIndex
from ...stores.protected.manifest import NAME as MANIFEST

BANKS, CENTROIDS, INDEXES = "diversity_banks", "diversity_centroids", "diversity_indexes"
"""Names of the folders, also in extra_model_paths.yaml."""

DEFAULT_INDEX = "never again"

_FOLDERS: dict[str, Path] = {}


def find_folders() -> None:
    """Find the folders once the host has read its configuration."""
    # An update replaces the pack but not the user directory; an index may be as large as a model.
    user, models = Path(folder_paths.get_user_directory()), Path(folder_paths.models_dir)
    for name, parent in ((BANKS, user), (CENTROIDS, user), (INDEXES, models)):
        # Removed from the host's model folders, since its model library would list every file in them.
        configured, _ = folder_paths.folder_names_and_paths.pop(name, ([], set()))
        _FOLDERS[name] = Path(configured[0]) if configured else parent / name


def open_bank(name: str, capacity: int = DEFAULT_CAPACITY) -> MemoryBank:
    """The bank of this name; its folder is created by the first append.

    Raises:
        ValueError: the name is invalid or the capacity is below 1.
    """
    return MemoryBank(_FOLDERS[BANKS], name, capacity=capacity)


def bank_names() -> list[str]:
    """Names of the banks that exist, damaged ones too, in order."""
    found = []
    for name in directory.bank_names(_FOLDERS[BANKS]):
        # A folder that was put there by hand may have a name that no node takes.
        with suppress(ValueError):
            found.append(validate_name(name, "bank"))
    return found


def fingerprint_of_banks() -> str:
    """A hash that changes whenever any bank does, for nodes that learn their bank's name only when they run."""
    states = []
    for name in bank_names():
        # The node that reads a damaged bank reports it.
        with suppress(ValueError):
            states.append(f"{name}:{open_bank(name).fingerprint()}")
    return hashlib.sha256("\n".join(states).encode()).hexdigest()


def centroid_path(name: str) -> Path:
    """The file of the centroid of this name, whether it exists or not.

    Raises:
        ValueError: the name is invalid.
    """
    return _FOLDERS[CENTROIDS] / f"{validate_name(name, 'centroid')}.safetensors"


def index_path(name: str) -> Path:
    """The folder of the index of this name, whether it exists or not.

    Raises:
        ValueError: the name is invalid.
    """
    return _FOLDERS[INDEXES] / validate_name(name, "protected index")


def open_index(name: str) -> ProtectedIndex:
    """The index of this name.

    Raises:
        ValueError: the name is invalid, or the index is missing, damaged or of another version.
    """
    path = index_path(name)
    if not (path / MANIFEST).exists():
        known = ", ".join(sorted(found.parent.name for found in path.parent.glob(f"*/{MANIFEST}"))) or "none yet"
        raise ValueError(
            f'There is no protected index "{name}" (known: {known}). Build it with Build Protected Index, or with the '
            f"command diversity-guidance index build, below {path.parent}."
        )
    return ProtectedIndex.open(path)


def index_fingerprint(name: str) -> str:
    """A hash that changes when the index of this name does; "" if there is none."""
    try:
        return digest_of_own(index_path(name) / MANIFEST)
    except OSError:
        return ""


def fingerprint_of_indexes() -> str:
    """A hash that changes whenever any index does, for nodes that learn their index's name only when they run."""
    names = sorted(path.parent.name for path in _FOLDERS[INDEXES].glob(f"*/{MANIFEST}"))
    return hashlib.sha256("\n".join(f"{name}:{index_fingerprint(name)}" for name in names).encode()).hexdigest()
