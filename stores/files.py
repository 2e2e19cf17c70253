"""Files that are there as a whole or not at all, whatever kills the process that writes them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

UNFINISHED_SUFFIX = ".tmp"


def digest_of(data: bytes | memoryview) -> str:
    """First 32 hexadecimal digits of the SHA-256: the name of files that are named by their content."""
    return hashlib.sha256(data).hexdigest()[:32]


def write_whole(path: Path, data: bytes | memoryview) -> None:
    """Write a file aside, flush it and rename it into its place.

    Raises:
        OSError: the file could not be written; nothing of it is left.
    """
    unfinished = path.with_name(f"{path.stem}.{os.getpid()}{UNFINISHED_SUFFIX}")
    try:
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_named(path: Path, digest: str, data: bytes | memoryview) -> None:
    """Write a file that is named by its content, unless it is there already and sound.

    Raises:
        OSError: the file could not be written; nothing of it is left.
    """
    if not path.is_file() or digest_of(path.read_bytes()) != digest:
        write_whole(path, data)


def sync_folder(folder: Path) -> None:
    """Make new names in the folder survive a power cut; Windows cannot open folders and needs no such step."""
    if os.name != "nt":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
