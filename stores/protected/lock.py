"""The lock that keeps two processes from building in one folder."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from ..files import own_size
from ..locks import require_working_locks
from .errors import IndexWriteError


class BuilderLock:
    """Excludes other builders while this process lives, by an SQLite lock, which does not outlive a killed process.

    Args:
        path: of the lock file, created if missing; it stays empty.

    Raises:
        IndexWriteError: another builder holds the lock.
        OSError: the file system ignores locks, or the path is not a file.
        sqlite3.OperationalError: the file cannot be created or locked.
    """

    def __init__(self, path: Path) -> None:
        require_working_locks(path.parent)
        if os.path.lexists(path):
            own_size(path)
        self._connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            self._connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            self._connection.close()
            if "locked" not in str(error):
                raise
            raise IndexWriteError(
                f"The protected index {path.parent} is being built or changed by another process ({error}): wait until "
                "it is done."
            ) from error

    def release(self) -> None:
        """Let others build."""
        with closing(self._connection):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
