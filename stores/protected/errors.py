"""Errors of a Protected Index; each message says what happened and what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..bank.errors import write_advice


class ProtectedIndexError(ValueError):
    """A Protected Index cannot do what was asked."""


class IndexDamagedError(ProtectedIndexError):
    """A file of the index is missing or differs from what was written."""


class IndexSpaceError(ProtectedIndexError):
    """Vectors whose space or shape differs from the index's."""


class IndexVersionError(ProtectedIndexError):
    """The index has the format of a newer or older version."""


class IndexWriteError(ProtectedIndexError):
    """The index could not be written; it is unchanged."""


def damaged(path: Path, what: str) -> IndexDamagedError:
    """The error that names a file and says what to do."""
    return IndexDamagedError(
        f"The protected index's file {path} {what}. Restore it from a backup, or build the index again: nothing is "
        "protected by a damaged index."
    )


@contextmanager
def translate_write_errors(folder: Path) -> Iterator[None]:
    """Translate errors of the file system, and of SQLite as a lock, while the index in ``folder`` is written.

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
