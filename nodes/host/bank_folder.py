"""Where Memory Banks live: the folder ``diversity_banks`` of the host, which extra_model_paths.yaml can move."""

from __future__ import annotations

import hashlib
from pathlib import Path

import folder_paths

from ...stores.bank.bank import DEFAULT_CAPACITY, MemoryBank

FOLDER = "diversity_banks"


def register_bank_folder() -> None:
    """Tell the host of the folder: by default in the user directory, which updates of packs leave alone."""
    folder_paths.add_model_folder_path(FOLDER, str(Path(folder_paths.get_user_directory()) / FOLDER))


def bank_root() -> Path:
    """The folder of all banks; a place that the user configured comes first."""
    return Path(folder_paths.get_folder_paths(FOLDER)[0])


def open_bank(name: str, capacity: int = DEFAULT_CAPACITY) -> MemoryBank:
    """The bank of this name; nothing is made on disk before something is remembered.

    Raises:
        ValueError: the name is not fit or the capacity is below 1.
    """
    return MemoryBank(bank_root(), name, capacity=capacity)


def fingerprint_of_all() -> str:
    """Changes whenever any bank does, for nodes that learn their bank's name only when they run."""
    names = sorted(path.parent.name for path in bank_root().glob("*/index.sqlite"))
    states = [f"{name}:{open_bank(name).fingerprint()}" for name in names]
    return hashlib.sha256("\n".join(states).encode()).hexdigest()
