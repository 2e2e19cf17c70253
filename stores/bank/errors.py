"""Errors of a Memory Bank; each message says what happened and what to do."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..files import ForeignFileError
from ..locks import NoLocksError

LOCKED = (
    "Another program holds it: a second ComfyUI that is just writing, a backup, a sync client or a virus scanner. Wait "
    "until it is done and run it again. If this happens often on a network drive, keep it on a local disk."
)


class BankError(ValueError):
    """A bank cannot do what was asked."""


class LatentFormatError(BankError):
    """Latents of two formats would be mixed."""


class RevisionError(BankError):
    """The bank does not have the revision, or no longer has it."""


class BankWriteError(BankError):
    """The bank could not be written; it is unchanged."""


class BankDamagedError(BankError):
    """A file of the bank is missing or differs from what was written."""


class ShardMissingError(BankDamagedError):
    """A shard is missing: lost, or merged into another while a snapshot was held."""


@contextmanager
def translate_read_errors(database: Path) -> Iterator[None]:
    """Translate SQLite and file system errors while the database is read.

    Raises:
        BankDamagedError: the file is not a database, or is broken.
        BankError: it stays locked or cannot be opened.
    """
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        raise BankError(f"The bank's database {database} cannot be read ({error}). {_read_advice(error)}") from error
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        # Python cannot decode a message of SQLite that quotes broken text.
        raise _broken_database(database, error) from error


@contextmanager
def translate_write_errors(database: Path) -> Iterator[None]:
    """Translate SQLite and file system errors while a bank is written.

    Raises:
        BankDamagedError: the file is not a database, or is broken.
        BankWriteError: the bank could not be written.
    """
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        raise BankWriteError(
            f"The bank {database.parent} could not be written ({error}). {write_advice(error)} The bank keeps what it "
            "had."
        ) from error
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        # Python cannot decode a message of SQLite that quotes broken text.
        raise _broken_database(database, error) from error


def _broken_database(database: Path, error: Exception) -> BankDamagedError:
    return BankDamagedError(
        f"The bank's database {database} is damaged ({error}). Restore it from a backup, or move the folder "
        f"{database.parent} away to begin a new bank under this name."
    )


def _read_advice(error: OSError | sqlite3.OperationalError) -> str:
    if "locked" in str(error).lower():
        return LOCKED
    if isinstance(error, ForeignFileError):
        return "Remove what does not belong to the bank, or use another bank."
    return "Check that this user may read it, then try again."


def write_advice(error: OSError | sqlite3.OperationalError) -> str:
    """What the user can do. SQLite's reason is read from its message, since error codes came with Python 3.11."""
    reason = str(error).lower()
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, NoLocksError):
        return (
            "Keep it on a local disk: some network drives, cloud folders and containers ignore locks. Where it is "
            "kept can be set in extra_model_paths.yaml."
        )
    if isinstance(error, ForeignFileError):
        return "Remove what does not belong to it, or use another one."
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "full" in reason or "disk i/o" in reason:
        return "The disk is probably full: free some space and run it again."
    if number in (errno.EACCES, errno.EPERM, errno.EROFS) or "readonly" in reason or "unable to open" in reason:
        return "Make the folder writable for this user, or choose another folder."
    if "locked" in reason:
        return LOCKED
    return "Check the folder and run it again."
