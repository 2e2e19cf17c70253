"""Where Protected Indexes live: the host's folder ``diversity_indexes``, which extra_model_paths.yaml can move."""

from __future__ import annotations

import hashlib
from pathlib import Path

import folder_paths

from ...stores.files import digest_of_own, validate_name
from ...stores.protected.index import ProtectedIndex
from ...stores.protected.manifest import NAME as MANIFEST
from .store_folders import claim_folder, store_folder

FOLDER = "diversity_indexes"
DEFAULT_NAME = "never again"


def register_index_folder() -> None:
    """Find out where the folder is: by default beside its models, since an index may be as large as one."""
    claim_folder(FOLDER, Path(folder_paths.models_dir) / FOLDER)


def index_path(name: str) -> Path:
    """The folder of the index of this name, whether it exists or not.

    Raises:
        ValueError: the name is not fit.
    """
    return _root() / validate_name(name, "protected index")


def open_index(name: str) -> ProtectedIndex:
    """The index of this name.

    Raises:
        ValueError: the name is not fit, there is no such index, or it is damaged or of another version.
    """
    path = index_path(name)
    if not (path / MANIFEST).exists():
        known = ", ".join(sorted(found.parent.name for found in _root().glob(f"*/{MANIFEST}"))) or "none yet"
        raise ValueError(
            f'There is no protected index "{name}" (known: {known}). Build it with Build Protected Index, or with the '
            f"command diversity-guidance index build, below {_root()}."
        )
    return ProtectedIndex.open(path)


def fingerprint(name: str) -> str:
    """Changes when the index of this name does."""
    manifest = index_path(name) / MANIFEST
    try:
        return digest_of_own(manifest)
    except OSError:
        return ""


def fingerprint_of_all() -> str:
    """Changes whenever any index does, for nodes that learn their index's name only when they run."""
    names = sorted(path.parent.name for path in _root().glob(f"*/{MANIFEST}"))
    return hashlib.sha256("\n".join(f"{name}:{fingerprint(name)}" for name in names).encode()).hexdigest()


def _root() -> Path:
    return store_folder(FOLDER)
