"""The database of a Memory Bank: opening, locking and checking its SQLite file.

It records which entries each revision holds and where they are stored; ``transaction`` reads and changes that.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from ..files import ForeignFileError, is_plain_folder, open_own, own_size
from ..locks import require_working_locks
from .errors import BankDamagedError, translate_read_errors, translate_write_errors
from .recent import mark_of, note_change
from .schema import APPLICATION_ID, LAYOUTS, VERSION, change_stamp, create, read_as_current, upgrade
from .shards import StoredRow, holds_shards
from .transaction import BankTransaction

DATABASE, SHARDS = "index.sqlite", "shards"
"""Names in a bank's folder."""

BUSY_SECONDS = 4.0
SQLITE_LIMIT_LENGTH = 0  # sqlite3 names it from Python 3.11 on
MAX_TEXT_BYTES = 2**24
"""Limit of a prompt."""

SIDE_FILES = ("-journal", "-wal", "-shm")
JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")
"""A journal ending with it names another file, which SQLite would delete; a bank's journals never do."""


class BankDatabase:
    """Opens the database for one consistent view or one atomic change at a time; keeps no handle open.

    Args:
        path: of the SQLite file, which the first change creates.
        shard_folder: of the bank's shards.
    """

    def __init__(self, path: Path, shard_folder: Path) -> None:
        self.path = path
        self.shard_folder = shard_folder

    @contextmanager
    def reading(self) -> Iterator[BankTransaction]:
        """Read the database; a missing one reads as empty and is not created.

        Raises:
            BankDamagedError: the file is not a bank's database, or is broken.
            BankError: it cannot be read.
        """
        with translate_read_errors(self.path), ExitStack() as opened:
            exists, orphaned = self._check_files(), holds_shards(self.shard_folder)
            connection = opened.enter_context(closing(self._connect(self.path if exists else ":memory:")))
            connection.execute("BEGIN")
            version = self._version(connection)
            if version is None:
                if orphaned:
                    raise self._lost()
                connection = opened.enter_context(closing(self._connect(":memory:")))
                create(connection)
            elif version != VERSION:
                read_as_current(connection, version)
            yield BankTransaction(connection, self.shard_folder)

    @contextmanager
    def writing(self) -> Iterator[BankTransaction]:
        """Change the database, exclusively among all processes; commits when the block ends without an error.

        Raises:
            BankDamagedError: the file is not a bank's database, or is broken.
            BankWriteError: the change could not be stored; the database is unchanged.
        """
        with translate_write_errors(self.path):
            self._check_files()
            require_working_locks(self.path.parent)
            with closing(self._connect(self.path)) as connection:
                connection.execute("PRAGMA synchronous = FULL")
                orphaned = holds_shards(self.shard_folder)
                connection.execute("BEGIN IMMEDIATE")
                version = self._version(connection)
                if version is None:
                    if orphaned:
                        raise self._lost()
                    # Committed before any shard is written: shards beside a blank database mean that it was lost.
                    create(connection)
                    connection.execute("COMMIT")
                    connection.execute("BEGIN IMMEDIATE")
                elif version != VERSION:
                    upgrade(connection, version)
                transaction = BankTransaction(connection, self.shard_folder)
                before, changes = mark_of(self.path, transaction.stamp()), connection.total_changes
                yield transaction
                if connection.total_changes > changes:
                    change_stamp(connection)
                stamp = transaction.stamp()
                connection.execute("COMMIT")
                note_change(self.path, before, mark_of(self.path, stamp), transaction.touched)

    def locate(self, ids: Iterable[str], name: str) -> dict[str, StoredRow]:
        """Where the newest entries with these ids store their part of this name.

        Raises:
            BankError: the database cannot be read.
        """
        wanted = set(ids)
        with self.reading() as transaction:
            listing = transaction.all_entries()
        return {
            entry.id: listing.parts[position][name]
            for position, entry in listing.entries.items()
            if entry.id in wanted and name in listing.parts[position]
        }

    def _check_files(self) -> bool:
        """Whether the database exists; refuses links, pipes and devices in its place or beside it."""
        for folder in (self.path.parent, self.shard_folder):
            if os.path.lexists(folder) and not is_plain_folder(folder):
                raise ForeignFileError(
                    f"{folder} is a link or no folder: a bank's folder holds its own files. The folder of all "
                    "banks can be set in extra_model_paths.yaml"
                )
        for ending in SIDE_FILES:
            side = self.path.with_name(self.path.name + ending)
            # These files come and go while other processes write.
            with suppress(FileNotFoundError), open_own(side) as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(max(size - len(JOURNAL_MAGIC), 0))
                if size > len(JOURNAL_MAGIC) and file.read() == JOURNAL_MAGIC:
                    raise ForeignFileError(f"{side} names a file to delete, which a bank's journal never does")
        if not os.path.lexists(self.path):
            return False
        own_size(self.path)
        return True

    def _connect(self, path: Path | str) -> sqlite3.Connection:
        connection: Any = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        # Broken text is refused where it is checked, entry by entry, and does not hide the others.
        connection.text_factory = partial(str, encoding="utf-8", errors="replace")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        if hasattr(connection, "setlimit"):  # Python 3.11
            connection.setlimit(SQLITE_LIMIT_LENGTH, MAX_TEXT_BYTES)
        return connection

    def _version(self, connection: sqlite3.Connection) -> int | None:
        """Version of the tables; None if they were never made: a crash meanwhile leaves an empty file."""
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        found = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid").fetchall()
        if application == APPLICATION_ID and version in LAYOUTS:
            # A stranger's views and triggers would run in every query.
            if [sql for (sql,) in found] != list(LAYOUTS[version]):
                raise BankDamagedError(
                    f"The file {self.path} does not have the layout of a bank's database. Restore it from a backup, "
                    "or use another bank."
                )
            return version
        if not found:
            return None
        raise BankDamagedError(
            f"The file {self.path} is a database, but not the database of a bank that this version reads (found "
            f"version {version}, reads up to {VERSION}). Update the pack, or use another bank."
        )

    def _lost(self) -> BankDamagedError:
        return BankDamagedError(
            f"The bank's database {self.path} is missing or empty although its shards are there. Restore it from a "
            f"backup, or move the folder {self.path.parent} away to begin a new bank under this name."
        )
