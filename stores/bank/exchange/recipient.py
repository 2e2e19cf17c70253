"""Load the bank that a workflow names: a recipient may have none, another of that name, or one with more images."""

from __future__ import annotations

from ..bank import MemoryBank
from ..errors import RevisionError
from ..snapshot import BankSnapshot

SHOWN = 12
"""Digits of a digest in a sentence."""


def load_named(bank: MemoryBank, revision: int | None, digest: object = "") -> tuple[BankSnapshot, list[str]]:
    """A bank at a revision, and sentences on what the user should know of it.

    Args:
        bank: of this machine.
        revision: that the workflow asks for; None for the newest.
        digest: of the content that the workflow was saved with; "" where it was not saved with one.

    Raises:
        RevisionError: this machine has no such bank, or the revision is not the one that the workflow was saved with.
        ValueError: the bank is damaged, or no longer has the revision.
    """
    if not isinstance(digest, str):
        raise RevisionError("A bank's digest must be the 64 digits that were saved with an image, or empty.")
    digest = digest.strip()
    if bank.revision == 0:
        return _missing(bank, revision, digest)
    snapshot = bank.snapshot(revision)
    differs = digest not in ("", snapshot.digest)
    if revision is None:
        return snapshot, [_grown(snapshot, digest)] if differs else []
    if differs:
        raise RevisionError(
            f"Revision {revision} of the bank '{bank.name}' on this machine differs from the one that this workflow "
            f"was saved with ({snapshot.digest[:SHOWN]} instead of {digest[:SHOWN]}): it is another bank of the same "
            "name, or another revision. Get the bank from where the workflow comes from, and import it under another "
            f"name: {_IMPORT}. Or empty `digest` to use this one."
        )
    needs = bank.needs(revision)
    if needs.pinned or not needs.entries:
        return snapshot, []
    count = "1 image" if needs.entries == 1 else f"{needs.entries:,} images"
    return snapshot, [
        f"Revision {revision} needs {count} that the bank no longer holds, {needs.size / 1e6:,.1f} MB: the next images "
        "that find the bank full may delete them. diversity-guidance bank pin-revision keeps them."
    ]


_IMPORT = "diversity-guidance bank export there, diversity-guidance bank import here"


def _missing(bank: MemoryBank, revision: int | None, digest: str) -> tuple[BankSnapshot, list[str]]:
    """An empty bank, where a workflow may run with one."""
    if revision:
        raise RevisionError(
            f"This workflow asks for revision {revision} of the bank '{bank.name}', and there is no such bank on this "
            f"machine. Get it from where the workflow comes from: {_IMPORT}. Or set the revision to -1: the workflow "
            "then runs with an empty bank."
        )
    told = f"There is no bank '{bank.name}' on this machine yet, so an empty one is used."
    if digest and digest != BankSnapshot.empty().digest:
        told += f" The workflow was saved beside one with images: {_IMPORT} brings them."
    return BankSnapshot.empty(bank.name), [told]


def _grown(snapshot: BankSnapshot, digest: str) -> str:
    return (
        f"The bank '{snapshot.name}' on this machine differs from the one that this workflow was saved with "
        f"({snapshot.digest[:SHOWN]} instead of {digest[:SHOWN]}): images were added or removed since, or it is "
        "another bank of the same name. The saved image notes the revision that makes it again."
    )
