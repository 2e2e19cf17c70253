"""The database of a Memory Bank: an SQLite file that says which entries lived at which revision and where they lie.

This file opens and locks it; ``transaction`` asks and changes it.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from .errors import BankDamagedError, translate_read_errors, translate_write_errors
from .shards import holds_shards
from .transaction import BankTransaction

APPLICATION_ID = 0x44474D42  # "DGMB"
SCHEMA_VERSION = 1
BUSY_SECONDS = 60.0
EMPTY_DIGEST = hashlib.sha256(b"").hexdigest()

SCHEMA = (
    "CREATE TABLE revisions (revision INTEGER PRIMARY KEY, created TEXT, digest TEXT NOT NULL)",
    "CREATE TABLE shards (digest TEXT PRIMARY KEY, size INTEGER NOT NULL)",
    """CREATE TABLE entries (
        position INTEGER PRIMARY KEY, id TEXT NOT NULL, latent_format TEXT NOT NULL, shape TEXT NOT NULL,
        prompt TEXT, seed TEXT, created TEXT NOT NULL, added INTEGER NOT NULL, removed INTEGER,
        lost INTEGER NOT NULL DEFAULT 0)""",
    "CREATE UNIQUE INDEX living ON entries (id) WHERE removed IS NULL",
    """CREATE TABLE parts (
        position INTEGER NOT NULL, name TEXT NOT NULL, shard TEXT NOT NULL, row INTEGER NOT NULL,
        shape TEXT NOT NULL, dtype TEXT NOT NULL, added INTEGER NOT NULL, PRIMARY KEY (position, name))""",
    "CREATE INDEX parts_by_shard ON parts (shard)",
    f"INSERT INTO revisions VALUES (0, NULL, '{EMPTY_DIGEST}')",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)


class BankDatabase:
    """Opens the database for one consistent look or one all-or-nothing change at a time; no handle stays open.

    Args:
        path: the SQLite file; made by the first change.
        shard_folder: where the shards lie.
    """

    def __init__(self, path: Path, shard_folder: Path) -> None:
        self.path = path
        self.shard_folder = shard_folder

    @contextmanager
    def reading(self) -> Iterator[BankTransaction]:
        """Look at the database; one that does not exist reads as empty and is not made.

        Raises:
            BankError: the database cannot be read, or (BankDamagedError) is not one.
        """
        with translate_read_errors(self.path), closing(sqlite3.connect(":memory:", isolation_level=None)) as empty:
            _create(empty)
            orphaned = holds_shards(self.shard_folder)
            with closing(self._connect() if self.path.exists() else empty) as connection:
                connection.execute("BEGIN")
                blank = self._is_blank(connection)
                if orphaned and (blank or connection is empty):
                    raise self._lost()
                yield BankTransaction(empty if blank else connection, self.shard_folder)

    @contextmanager
    def writing(self) -> Iterator[BankTransaction]:
        """Change the database, alone among all processes; what was done counts when the block ends without an error.

        Raises:
            BankWriteError: the change could not be stored and did not happen.
            BankDamagedError: the file is not a database.
        """
        with translate_write_errors(self.path), closing(self._connect()) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            orphaned = holds_shards(self.shard_folder)
            connection.execute("BEGIN IMMEDIATE")
            if self._is_blank(connection):
                if orphaned:
                    raise self._lost()
                # Published before any shard is written: shards beside a blank database mean that the database was lost.
                _create(connection)
                connection.execute("COMMIT")
                connection.execute("BEGIN IMMEDIATE")
            yield BankTransaction(connection, self.shard_folder)
            connection.execute("COMMIT")

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)

    def _is_blank(self, connection: sqlite3.Connection) -> bool:
        """Whether nothing was ever published here: a crash while the database is made leaves an empty file."""
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if (application, version) == (APPLICATION_ID, SCHEMA_VERSION):
            return False
        if connection.execute("SELECT 1 FROM sqlite_master").fetchone() is None:
            return True
        raise BankDamagedError(
            f"{self.path} is a database, but not the database of a bank that this version reads (found version "
            f"{version}, reads {SCHEMA_VERSION}). Update the pack, or use another bank."
        )

    def _lost(self) -> BankDamagedError:
        return BankDamagedError(
            f"The bank's database {self.path} is missing or empty although its shards are there. Restore it from a "
            f"backup, or move the folder {self.path.parent} away to begin a new bank under this name."
        )


def _create(connection: sqlite3.Connection) -> None:
    for statement in SCHEMA:
        connection.execute(statement)
