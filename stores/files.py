"""Files that are there as a whole or not at all, whatever kills the process that writes them."""

from __future__ import annotations

import hashlib
import math
import os
import unicodedata
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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


MAX_NAME_LENGTH = 64
MAX_FILE_NAME_BYTES = 255  # bytes, the limit of common file systems
FORBIDDEN = frozenset('/\\:*?"<>|')
# Windows gives these to devices, whatever follows a dot.
DEVICES = frozenset(
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"]
    + [f"{port}{digit}" for port in ("COM", "LPT") for digit in "123456789¹²³"]
)


def validate_bank_name(name: str) -> str:
    """Return a bank's name as ``validate_name`` does.

    Raises:
        ValueError: the name is empty, longer than 64 characters, or could reach another folder or a device.
    """
    return validate_name(name, "bank")


def validate_name(name: str, what: str) -> str:
    """Return the name in Unicode's composed form if it can be a file's name on Windows, macOS and Linux.

    Args:
        name: as the user gave it.
        what: the thing that it names, such as "bank".

    Raises:
        ValueError: the name is empty, longer than 64 characters, or could reach another folder or a device.
    """
    name = unicodedata.normalize("NFC", name)
    if not name.strip():
        raise ValueError(f"The {what} has no name. Give it one, such as 'portraits'.")
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name):
        raise ValueError(
            f"The {what}'s name {name!r} holds a control character. Use letters, digits, spaces, '-' and '_'."
        )
    if len(name) > MAX_NAME_LENGTH or len(name.encode()) > MAX_FILE_NAME_BYTES:
        raise ValueError(f"The {what}'s name is {len(name)} characters long. Use at most {MAX_NAME_LENGTH}.")
    if found := sorted(FORBIDDEN.intersection(name)):
        raise ValueError(
            f"The {what}'s name {name!r} holds {found[0]!r}. Give a name, not a path: letters, digits, spaces, "
            "'-' and '_'."
        )
    if name[0] in ". " or name[-1] in ". " or ".." in name:
        raise ValueError(
            f"The {what}'s name {name!r} begins or ends with a dot or a space, or holds '..'. Give a name, not a path."
        )
    if name.split(".")[0].rstrip().upper() in DEVICES:
        raise ValueError(
            f"The {what}'s name {name!r} belongs to a device on Windows. Choose another, such as 'my {name}'."
        )
    return name


OVERFLOW = 65520.0
"""From here on values round to infinity."""


def require_storable(values: Tensor, what: str, dtype: torch.dtype = torch.float16) -> None:
    """Check that values are finite and stay so in the dtype; in float32, half precision is slow on many CPUs.

    Args:
        values: any shape with at least one value, any floating dtype.
        what: the thing that they are, for the message.
        dtype: in which they will be stored.

    Raises:
        ValueError: they are not.
    """
    largest = float(values.detach().to("cpu", torch.float32).abs().amax())
    if not math.isfinite(largest):
        raise ValueError(
            f"{what} holds NaN or infinite values, so nothing was stored. Check the model and its settings."
        )
    if dtype == torch.float16 and largest >= OVERFLOW:
        raise ValueError(
            f"{what} holds the value {largest:.6g}, beyond what half precision stores, so nothing was stored. "
            "Check that these are latents of a VAE."
        )


def from_half(halves: NDArray[np.float16]) -> NDArray[np.float32]:
    """The same numbers; by torch, since NumPy converts them one by one, ten times as slowly."""
    return torch.from_numpy(halves).float().numpy()
