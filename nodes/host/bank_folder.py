"""Where Memory Banks live: the folder ``diversity_banks`` of the host, which extra_model_paths.yaml can move."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

import folder_paths

from ...stores.bank.bank import DEFAULT_CAPACITY, MemoryBank
from ...stores.bank.database import DATABASE
from .store_folders import claim_folder, store_folder

FOLDER = "diversity_banks"


def register_bank_folder() -> None:
    """Find out where the folder is: by default in the user directory, which updates of packs leave alone."""
    claim_folder(FOLDER, Path(folder_paths.get_user_directory()) / FOLDER)


def bank_root() -> Path:
    """The folder of all banks; a place that the user configured comes first."""
    return store_folder(FOLDER)


def open_bank(name: str, capacity: int = DEFAULT_CAPACITY) -> MemoryBank:
    """The bank of this name; nothing is made on disk before something is remembered.

    Raises:
        ValueError: the name is not fit or the capacity is below 1.
    """
    return MemoryBank(bank_root(), name, capacity=capacity)


def fingerprint_of_all() -> str:
    """Changes whenever any bank does, for nodes that learn their bank's name only when they run."""
    states = []
    for name in sorted(path.parent.name for path in bank_root().glob(f"*/{DATABASE}")):
        # A folder that is no bank, or a damaged one, is told by the node that reads it.
        with suppress(ValueError):
            states.append(f"{name}:{open_bank(name).fingerprint()}")
    return hashlib.sha256("\n".join(states).encode()).hexdigest()
