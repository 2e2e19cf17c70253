"""Whether a folder's file system honours locks; without them, two programs writing at once destroy a store."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

from .files import UNFINISHED_SUFFIX

_PATIENCE = 20.0
_SECOND = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sys.exit(1)
"""
"""A program that tries to lock a file which this process has locked."""

_GRANTED = 0
_WORKING: set[int] = set()


class NoLocksError(OSError):
    """The file system ignores locks."""


def require_working_locks(folder: Path) -> None:
    """Check, once per file system, that a file locked by this process is locked for others.

    Raises:
        NoLocksError: it is not.
        OSError: the folder cannot be written.
    """
    if os.name == "nt":  # Windows enforces locks itself, on network drives too
        return
    device = folder.stat().st_dev
    if device in _WORKING:
        return
    probe = folder / f"lock-{uuid4().hex}{UNFINISHED_SUFFIX}"
    try:
        with probe.open("xb") as file:
            working = _is_kept(file.fileno(), probe)
    finally:
        probe.unlink(missing_ok=True)
    if not working:
        raise NoLocksError(
            f"locks do not work on the file system of {folder}, so that two programs could destroy what is stored"
        )
    _WORKING.add(device)


def _is_kept(handle: int, path: Path) -> bool:
    import fcntl

    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    if not sys.executable or getattr(sys, "frozen", False):
        return True  # no interpreter to start
    command = [sys.executable, "-I", "-S", "-c", _SECOND, str(path)]
    try:
        return subprocess.run(command, timeout=_PATIENCE, check=False, capture_output=True).returncode != _GRANTED
    except (OSError, subprocess.TimeoutExpired):
        return True  # without a second process nothing is known, and nothing refused
