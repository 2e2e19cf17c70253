"""What can go wrong with a Protected Index, each told in a sentence that says what happened and what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..bank.errors import write_advice


class ProtectedIndexError(ValueError):
    """A Protected Index cannot do what was asked of it."""


class IndexDamagedError(ProtectedIndexError):
    """A file of the index is missing or is not what was written."""


class IndexSpaceError(ProtectedIndexError):
    """Vectors of another space or shape than the index's."""


class IndexVersionError(ProtectedIndexError):
    """The index was written by a newer version, or by an older one with another format."""


class IndexWriteError(ProtectedIndexError):
    """The index could not be written; it stays as it was."""


def damaged(path: Path, what: str) -> IndexDamagedError:
    """The error that names a file and says what to do about it."""
    return IndexDamagedError(
        f"The protected index's file {path} {what}. Restore it from a backup, or build the index again: nothing is "
        "protected by a damaged index."
    )


@contextmanager
def translate_write_errors(folder: Path) -> Iterator[None]:
    """Turn errors of the file system, and of SQLite as a lock, while writing the index in ``folder`` into sentences.

    Raises:
        IndexWriteError: the index could not be written.
    """
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        raise IndexWriteError(
            f"The protected index {folder} could not be written ({error}). {write_advice(error)} The index stays as "
            "it was, and what was built so far is kept: the same command goes on from there."
        ) from error
