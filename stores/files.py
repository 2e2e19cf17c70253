"""Files of the stores: atomic writes, and reads of regular files only.

A store may come from a stranger, so nothing that it names is trusted: file names are digests, and links, devices and
pipes are neither opened nor deleted.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import re
import stat
import unicodedata
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

UNFINISHED_SUFFIX = ".tmp"
UNFINISHED = re.compile(r"(.*\.|lock-)[0-9a-f]{32}\.tmp")
DIGEST = re.compile("[0-9a-f]{32}")
MAX_WHOLE_BYTES = 2**30
"""Limit of files that are read at once: no latent, table or centroid is larger."""

_HASHED_AT_ONCE = 2**20
_JUNCTION = 0xA0000003  # IO_REPARSE_TAG_MOUNT_POINT of Windows


class ForeignFileError(OSError):
    """A file is a link, a device or a pipe, or has the wrong size."""


def digest_of(data: bytes | memoryview) -> str:
    """First 32 hexadecimal digits of the SHA-256, by which files are named."""
    return hashlib.sha256(data).hexdigest()[:32]


def is_digest(name: object) -> bool:
    """Whether a value read from a store has the form of a ``digest_of``, and so may be a file name."""
    return isinstance(name, str) and DIGEST.fullmatch(name) is not None


def is_unfinished(name: str) -> bool:
    """Whether a file has the name of one that ``write_whole`` or a probe of locks left behind when it was killed."""
    return UNFINISHED.fullmatch(name) is not None


def is_plain_folder(folder: Path) -> bool:
    """Whether this is a folder, not a link or junction to one."""
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and getattr(found, "st_reparse_tag", 0) != _JUNCTION


def own_size(path: Path) -> int:
    """Size in bytes of a regular file in a plain folder.

    Raises:
        ForeignFileError: it is not a regular file, or its folder is a link.
        OSError: it does not exist.
    """
    found = os.lstat(path)
    if not stat.S_ISREG(found.st_mode) or not is_plain_folder(path.parent):
        raise ForeignFileError(errno.EPERM, "it is a link, a device or a pipe, not a file of its own folder")
    return found.st_size


def open_own(path: Path) -> BinaryIO:
    """Open a regular file in a plain folder for reading, never following a link or waiting for a pipe.

    Raises:
        ForeignFileError: it is not a regular file.
        OSError: it does not exist or cannot be read.
    """
    own_size(path)
    flags = os.O_RDONLY
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY", "O_CLOEXEC"):
        flags |= getattr(os, name, 0)
    handle = os.open(path, flags)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ForeignFileError(errno.EPERM, "it is not a regular file")
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_own(path: Path, *, size: int | None = None, limit: int = MAX_WHOLE_BYTES) -> bytes:
    """Read a regular file, after checking its size.

    Args:
        path: of the file.
        size: in bytes, where it is known.
        limit: of the size, in bytes.

    Raises:
        ForeignFileError: it is not a regular file, or has another size.
        OSError: it does not exist or cannot be read.
    """
    with open_own(path) as file:
        found = os.fstat(file.fileno()).st_size
        if size is not None and found != size:
            raise ForeignFileError(errno.EINVAL, f"it has {found} bytes instead of {size}")
        if found > limit:
            raise ForeignFileError(errno.EFBIG, f"it has {found} bytes, more than the limit of {limit}")
        return file.read(found)


def digest_of_own(path: Path) -> str:
    """The digest of a regular file of any size, read in pieces.

    Raises:
        OSError: it is not a regular file, does not exist, or cannot be read.
    """
    state = hashlib.sha256()
    with open_own(path) as file:
        while part := file.read(_HASHED_AT_ONCE):
            state.update(part)
    return state.hexdigest()[:32]


def remove_own(path: Path) -> int | None:
    """Delete a regular file in a plain folder and return its size; anything else stays, and the result is None.

    Raises:
        OSError: it could not be deleted.
    """
    try:
        size = own_size(path)
        path.unlink()
    except (FileNotFoundError, ForeignFileError):
        return None
    return size


def remove_unfinished(folder: Path) -> None:
    """Delete what killed writers left in a folder.

    Raises:
        OSError: a file could not be deleted.
    """
    for path in folder.glob(f"*{UNFINISHED_SUFFIX}"):
        if is_unfinished(path.name):
            remove_own(path)


def write_whole(path: Path, data: bytes | memoryview) -> None:
    """Write a file atomically: under another name, flushed to disk, then renamed.

    Raises:
        OSError: the file could not be written; nothing of it is left.
    """
    unfinished = path.with_name(f"{path.stem}.{uuid4().hex}{UNFINISHED_SUFFIX}")
    try:
        with unfinished.open("xb") as file:  # never through an existing link
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_named(path: Path, digest: str, data: bytes | memoryview) -> None:
    """Write a file named by its digest, unless it exists and is intact.

    Raises:
        OSError: the file could not be written; nothing of it is left.
    """
    try:
        sound = own_size(path) == len(data) and digest_of_own(path) == digest
    except OSError:
        sound = False
    if not sound:
        write_whole(path, data)


def sync_folder(folder: Path) -> None:
    """Make renames in the folder survive a power cut; on Windows folders cannot be opened and need no such step."""
    if os.name != "nt":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


MAX_NAME_LENGTH = 64
MAX_GIVEN_LENGTH = 1000  # before composition, which may shorten a name
MAX_FILE_NAME_BYTES = 255  # of common file systems
FORBIDDEN = frozenset('/\\:*?"<>|')
ZERO_WIDTH_JOINER = "\u200d"
EMOJI = ("So", "Sk", "Mn")  # symbols, skin tones, variation selectors
# Reserved by Windows, with any extension.
DEVICES = frozenset(
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"]
    + [f"{port}{digit}" for port in ("COM", "LPT") for digit in "123456789¹²³"]
)


def validate_name(name: object, what: str) -> str:
    """The name in Unicode's composed form, if it can be a file name on Windows, macOS and Linux.

    Args:
        name: as the user gave it.
        what: it names, such as "bank".

    Raises:
        ValueError: the name is not text, empty, longer than 64 characters, or could reach another folder or a device.
    """
    if not isinstance(name, str):
        raise ValueError(f"The {what}'s name must be text, not {type(name).__name__}, such as 'portraits'.")
    if len(name) > MAX_GIVEN_LENGTH:
        raise ValueError(f"The {what}'s name is {len(name)} characters long. Use at most {MAX_NAME_LENGTH}.")
    name = unicodedata.normalize("NFC", name)
    if not name.strip():
        raise ValueError(f"The {what} has no name. Give it one, such as 'portraits'.")
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name):
        raise ValueError(
            f"The {what}'s name {name!r} holds a control character. Use letters, digits, spaces, '-' and '_'."
        )
    if mark := _invisible(name):
        raise ValueError(
            f"The {what}'s name holds the invisible mark U+{ord(mark):04X}, with which names that look alike "
            "differ. Type it again without."
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


def _invisible(name: str) -> str:
    """The first invisible character of a name, "" without one; joiners between emoji do not count."""
    for before, character, after in zip(" " + name, name, name[1:] + " ", strict=False):
        joins = character == ZERO_WIDTH_JOINER and all(unicodedata.category(c) in EMOJI for c in (before, after))
        if unicodedata.category(character) == "Cf" and not joins:
            return character
    return ""


OVERFLOW = 65520.0
"""The smallest value that float16 rounds to infinity."""


def require_storable(values: Tensor, what: str, dtype: torch.dtype = torch.float16) -> None:
    """Check that values are finite, and stay so in the dtype.

    Args:
        values: any shape with at least one value, any floating dtype.
        what: the values are, for the message.
        dtype: in which they will be stored.

    Raises:
        ValueError: a value is NaN, infinite or too large.
    """
    # In float32: float16 is slow on many CPUs.
    largest = float(values.detach().to("cpu", torch.float32).abs().amax())
    if not math.isfinite(largest):
        raise ValueError(
            f"{what} holds NaN or infinite values, so nothing was stored. Check the model and its settings."
        )
    if dtype == torch.float16 and largest >= OVERFLOW:
        raise ValueError(
            f"{what} holds the value {largest:.6g}, beyond the range of float16, so nothing was stored. "
            "Check that these are latents of a VAE."
        )


def to_float32(values: NDArray[np.float16]) -> NDArray[np.float32]:
    """Convert by torch, ten times as fast as NumPy, which converts one by one."""
    return torch.from_numpy(values).float().numpy()
