"""Small JSON files with a checksum over their one spelling."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ..files import ForeignFileError, read_own, write_whole
from .errors import ProtectedIndexError, damaged

MAX_BYTES = 2**27
"""Limit of a file; a shard takes about 150 bytes of a manifest."""


def write_checksummed(path: Path, content: dict[str, Any]) -> None:
    """Write a dictionary of JSON values atomically.

    Raises:
        OSError: the file could not be written.
    """
    write_whole(path, _with_checksum(content))


def read_checksummed(path: Path) -> dict[str, Any]:
    """Read a dictionary that ``write_checksummed`` wrote.

    Raises:
        IndexDamagedError: a byte differs from what was written.
        ProtectedIndexError: the file cannot be read.
    """
    try:
        data = read_own(path, limit=MAX_BYTES)
    except ForeignFileError as error:
        raise damaged(path, f"cannot be read ({error.strerror})") from error
    except OSError as error:
        raise ProtectedIndexError(f"{path} cannot be read ({error.strerror}): is this a protected index?") from error
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        content = None
    # Compared byte by byte: JSON has many spellings of the same content.
    if not isinstance(content, dict) or content.pop("checksum", None) is None or _with_checksum(content) != data:
        raise damaged(path, "does not hold what was written")
    return content


def _with_checksum(content: dict[str, Any]) -> bytes:
    checksum = hashlib.sha256(_encoded(content)).hexdigest()
    return _encoded({"checksum": checksum, **content})


def _encoded(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=1) + "\n").encode()
