"""Changes of a Memory Bank that a user asks for: remove images, take a change back, pin. Each is one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from .database import BankDatabase
from .errors import BankError, RevisionError
from .snapshot import now
from .transaction import BankTransaction

NAMED = 3
"""Unknown ids that an error names."""


def remove_entries(database: BankDatabase, ids: Sequence[str]) -> int:
    """Remove the entries of these ids in a new revision, and return the newest revision.

    Raises:
        BankError: the newest revision does not hold one of them; nothing was removed.
        BankWriteError: the bank could not be written; it is unchanged.
    """
    with database.writing() as transaction:
        revision = transaction.newest()[0]
        living = _required(transaction, ids)
        if chosen := list(dict.fromkeys(ids)):
            revision += 1
            transaction.remove([living[identity] for identity in chosen], revision)
            transaction.publish(revision, now(), ["remove", chosen])
    return revision


def clear_entries(database: BankDatabase) -> int:
    """Remove all entries in a new revision, and return the newest revision.

    Raises:
        BankWriteError: the bank could not be written; it is unchanged.
    """
    with database.writing() as transaction:
        revision = transaction.newest()[0]
        if living := transaction.living():
            revision += 1
            transaction.remove(list(living.values()), revision)
            transaction.publish(revision, now(), ["clear"])
    return revision


def pin_entries(database: BankDatabase, ids: Sequence[str], pinned: bool) -> None:
    """Pin entries, so that they are never evicted, or let them go again.

    Raises:
        BankError: the newest revision does not hold one of them; nothing was changed.
        BankWriteError: the bank could not be written; it is unchanged.
    """
    with database.writing() as transaction:
        living = _required(transaction, ids)
        transaction.pin([living[identity] for identity in ids], pinned)


def undo(database: BankDatabase) -> int:
    """Take back the newest change that is not taken back yet, in a new revision, and return it.

    Raises:
        BankError: there is no change to take back.
        RevisionError: the revision before the change can no longer be reproduced.
        BankWriteError: the bank could not be written; it is unchanged.
    """
    with database.writing() as transaction:
        change = transaction.newest()[0]
        while change > 0 and (undone := transaction.undone_by(change)) is not None:
            # After an undo the bank is as it was before the change: that one's predecessor is the next to take back.
            change = min(undone, change) - 1
        if change <= 0:
            raise BankError("There is nothing to undo: the bank is as it was before its first change.")
        try:
            return _restore(transaction, change - 1, ["undo", change], change)
        except RevisionError as error:
            raise RevisionError(f"The change of revision {change} cannot be undone. {error}") from error


def restore(database: BankDatabase, revision: int) -> int:
    """Give the bank the images of an earlier revision again, in a new one, and return it.

    Raises:
        RevisionError: that revision can no longer be reproduced.
        BankWriteError: the bank could not be written; it is unchanged.
    """
    with database.writing() as transaction:
        return _restore(transaction, revision, ["restore", revision], None)


def _restore(transaction: BankTransaction, revision: int, change: object, undoes: int | None) -> int:
    wanted = transaction.positions_at(revision)
    living = set(transaction.living().values())
    newest = transaction.newest()[0] + 1
    transaction.remove(sorted(living - wanted), newest)
    transaction.bring_back(sorted(wanted - living), newest)
    if undoes is not None:
        transaction.drop_parts_since(undoes, wanted)
    transaction.publish(newest, now(), change, undoes)
    return newest


def _required(transaction: BankTransaction, ids: Sequence[str]) -> dict[str, int]:
    """Positions of the newest revision's entries by id, which must hold all of these."""
    living = transaction.living()
    if unknown := [identity for identity in ids if identity not in living]:
        named = ", ".join(str(identity)[:12] for identity in unknown[:NAMED])
        further = f" and {len(unknown) - NAMED:,} more" if len(unknown) > NAMED else ""
        raise BankError(
            f"The bank holds no image {named}{further}, so nothing was changed. Another program may have removed it: "
            "look at the bank again."
        )
    return living
