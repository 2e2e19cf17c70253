"""Which changes of banks one queue made, so that one undo takes all of them back; kept until the host ends."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import NamedTuple

from comfy_execution.utils import get_executing_context

from ...stores.bank.bank import MemoryBank

CHANGES_KEPT = 1000


class _Change(NamedTuple):
    bank: Path
    revision: int
    queue: str


_changes: deque[_Change] = deque(maxlen=CHANGES_KEPT)


def note_change(bank: MemoryBank, revision: int) -> None:
    """Note that the executing queue made this revision of a bank."""
    context = get_executing_context()
    if context is not None:
        _changes.append(_Change(bank.folder, revision, context.prompt_id))


def undo_queue(bank: MemoryBank) -> int:
    """Take back a bank's newest change, and with it all others that the same queue made just before.

    Returns:
        The new revision.

    Raises:
        BankError: there is nothing to undo.
        RevisionError: what it needs was vacuumed, evicted or damaged.
        BankWriteError: the bank could not be written.
    """
    made = {change.revision: change.queue for change in _changes if change.bank == bank.folder}
    newest, count = bank.revision, 1
    while newest in made and made.get(newest - count) == made[newest]:
        count += 1
    return [bank.undo() for _ in range(count)][-1]
