"""The folder of all Memory Banks: which there are, and giving one another name, a copy, or an end."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from time import time
from uuid import uuid4

from ...files import UNFINISHED_SUFFIX, is_plain_folder, is_unfinished, own_size, remove_own, sync_folder, write_whole
from ..database import DATABASE, SHARDS, SIDE_FILES, BankDatabase
from ..errors import BankDamagedError, BankError, ShardMissingError, translate_write_errors
from ..shards import Shard, read_bytes
from .cleaning import own_files

ABANDONED_SECONDS = 24 * 3600.0
"""A folder that is being made is abandoned when nothing was written into it for so long."""

COPY_TRIES = 5


def bank_names(root: Path) -> list[str]:
    """Names of the folders that hold a bank's files, in order."""
    if not root.is_dir():
        return []
    with os.scandir(root) as listing:
        names = [item.name for item in listing if item.is_dir(follow_symlinks=False) and not is_unfinished(item.name)]
    return sorted(name for name in names if any(os.path.lexists(root / name / part) for part in (DATABASE, SHARDS)))


def bank_bytes(folder: Path) -> int:
    """Size of a bank's files, those of no use included."""
    total = 0
    for path in _files_of(folder):
        with suppress(OSError):  # other processes write and delete here
            total += own_size(path)
    return total


def rename_bank(database: BankDatabase, target: Path) -> None:
    """Move a bank's folder beside its old place.

    Raises:
        BankError: there is no such bank, or the new name is taken.
        BankWriteError: the folder could not be moved; the bank is unchanged.
    """
    folder = database.path.parent
    _require_bank(database)
    with translate_write_errors(database.path):
        if os.path.lexists(target) and not folder.samefile(target):
            raise _taken(target)
        with database.writing():
            if os.name != "nt":
                folder.rename(target)
        if os.name == "nt":  # where no open file can be moved
            folder.rename(target)
        sync_folder(target.parent)


def copy_bank(database: BankDatabase, target: Path, progress: Callable[[int, int], None]) -> None:
    """Copy a bank with all its revisions. Others may change it meanwhile: the copy is of one moment.

    Raises:
        BankError: there is no such bank, or the name is taken.
        BankDamagedError: a file of the bank is damaged: repair it first.
        BankWriteError: the copy could not be written; nothing of it is left.
    """
    _require_bank(database)
    with new_folder(target) as folder:
        require_room(folder, bank_bytes(database.path.parent))
        for attempt in range(1, COPY_TRIES + 1):
            try:
                _copy_files(database, folder, progress)
            except ShardMissingError:
                # Another process merged or evicted it after the database was copied.
                if attempt == COPY_TRIES:
                    raise
            else:
                break


def delete_bank(database: BankDatabase) -> list[Path]:
    """Delete a bank's files and, where nothing else is in them, its folders; returns what is left.

    Raises:
        BankWriteError: another program holds the bank, or a file could not be deleted.
    """
    folder, shards = database.path.parent, database.shard_folder
    with suppress(BankDamagedError), database.writing():
        pass  # nobody else is writing
    with translate_write_errors(database.path):
        # The database goes last: shards without one would look like a bank that lost it.
        for path in _files_of(folder):
            remove_own(path)
        left = [path for path in folder.rglob("*") if path != shards]
        if not left:
            for each in (shards, folder):
                if each.is_dir():
                    each.rmdir()
    return left


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder that takes the name ``target`` when the block ends without an error, and is deleted otherwise.

    Raises:
        BankError: the name is taken.
        BankWriteError: it could not be made.
    """
    with translate_write_errors(target / DATABASE):
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(target.parent)
        if os.path.lexists(target):
            raise _taken(target)
        folder = target.with_name(f"new.{uuid4().hex}{UNFINISHED_SUFFIX}")
        try:
            folder.mkdir()
            yield folder
            if os.path.lexists(target):
                raise _taken(target)
            folder.rename(target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        sync_folder(target.parent)


def require_room(folder: Path, needed: int) -> None:
    """Check that so many bytes fit on a folder's disk, before anything is written.

    Raises:
        OSError: they do not.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"{needed / 1e6:,.1f} MB are needed and {free / 1e6:,.1f} MB are free")


def _copy_files(database: BankDatabase, folder: Path, progress: Callable[[int, int], None]) -> None:
    (folder / SHARDS).mkdir(exist_ok=True)
    with database.reading() as transaction:
        shards = transaction.shards()
        with closing(sqlite3.connect(folder / DATABASE, isolation_level=None)) as copy:
            transaction.connection.backup(copy)
    for name in {path.name for path in own_files(folder / SHARDS)} - {shard.path.name for shard in shards.values()}:
        remove_own(folder / SHARDS / name)
    for done, shard in enumerate(shards.values(), start=1):
        into = Shard(folder / SHARDS, shard.digest, shard.size)
        if not into.path.exists():
            write_whole(into.path, read_bytes(shard))
        progress(done, len(shards))


def _files_of(folder: Path) -> list[Path]:
    shards = folder / SHARDS
    with suppress(OSError):
        return [
            *(own_files(shards) if is_plain_folder(shards) else []),
            *(folder / (DATABASE + ending) for ending in (*SIDE_FILES, "")),
        ]
    return []


def _remove_abandoned(root: Path) -> None:
    """Delete what killed copies and imports left."""
    for path in root.glob(f"new.*{UNFINISHED_SUFFIX}"):
        with suppress(OSError):
            newest = max(each.lstat().st_mtime for each in (path, path / SHARDS) if os.path.lexists(each))
            if is_unfinished(path.name) and is_plain_folder(path) and time() - newest > ABANDONED_SECONDS:
                shutil.rmtree(path)


def _require_bank(database: BankDatabase) -> None:
    with database.reading() as transaction:
        if transaction.newest()[0] == 0:
            raise BankError(
                f"There is no bank '{database.path.parent.name}' in {database.path.parent.parent}: nothing was ever "
                "saved under this name."
            )


def _taken(target: Path) -> BankError:
    return BankError(f"The name '{target.name}' is taken in {target.parent}. Choose another name.")
