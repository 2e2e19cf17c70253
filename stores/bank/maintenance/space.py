"""What a Memory Bank takes on disk: at most a fifth more than its images, once it evicts.

Beside its images, files hold what only earlier revisions need, and rows of entries that are gone. An append that evicts
drops the earliest revisions until these need a twentieth, or at most a fifth for its own change, so that it can be
undone; then files that are partly unused are written anew. What pinned revisions need stays, and is not counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from ..records import FlawError, read_shape
from ..shards import DTYPES, Shard
from ..transaction import PINNED, BankTransaction

SPARE = 0.2
"""Of the images' size: files may take so much more."""

SPARE_UNUSED = 0.1
"""Of the images' size: unused rows in files may take so much."""

CROWDED = 0.09
"""Of the files: earlier revisions that need more are looked at closely."""

SPARE_AFTER = 0.05
"""To which earlier revisions and unused rows are cut once there is too much."""

SPARE_BYTES = 2**16
"""So much more is never worth the work: headers of many small files."""

BACK = "EXISTS (SELECT 1 FROM entries AS e WHERE e.position = entries.position AND e.removed IS NULL)"
"""Entries that were brought back."""


def needed_bytes(transaction: BankTransaction) -> int:
    """Size of what the newest revision and the pinned ones hold."""
    every = _total(transaction.connection.execute("SELECT shape, dtype, COUNT(*) FROM parts GROUP BY shape, dtype"))
    return every - sum(size for _, size in _history(transaction))


def is_crowded(transaction: BankTransaction) -> bool:
    """Whether earlier revisions may need too much; reads only what they need, whatever the bank's size."""
    history = sum(size for _, size in _history(transaction))
    return history > CROWDED * (_on_disk(transaction) - history)


def free_by_eviction(transaction: BankTransaction) -> int:
    """Drop the earliest revisions of a crowded bank if they need too much, and return how many entries went."""
    needed, kept = needed_bytes(transaction), 0
    if _fits(_on_disk(transaction), needed):
        return 0
    for place, (revision, size) in enumerate(_history(transaction)):
        kept += size
        if kept > needed * (SPARE_AFTER if place else SPARE):
            return transaction.forget_before(revision)
    return 0


def wasteful_shards(transaction: BankTransaction) -> set[Shard]:
    """Files to write anew, those first of which most is unused, so that all fit."""
    needed, total = needed_bytes(transaction), _on_disk(transaction)
    history = sum(size for _, size in _history(transaction))
    if _fits(total, needed) and total - history <= needed * (1 + SPARE_UNUSED) + SPARE_BYTES:
        return set()
    query = "SELECT shard, shape, dtype, COUNT(*) FROM parts GROUP BY shard, shape, dtype"
    used: dict[str, int] = {}
    for digest, *row in transaction.connection.execute(query):
        used[digest] = used.get(digest, 0) + _total([row])
    unused = {shard: shard.size - used.get(digest, 0) for digest, shard in transaction.shards().items()}
    chosen: set[Shard] = set()
    for shard, size in sorted(unused.items(), key=lambda item: item[1] / item[0].size, reverse=True):
        if total - history <= needed * (1 + SPARE_AFTER) or size <= 0:
            break
        chosen.add(shard)
        total -= size
    return chosen


def _history(transaction: BankTransaction) -> Iterable[tuple[int, int]]:
    """Size of what each revision removed and no pinned one needs, newest first."""
    query = (
        "SELECT removed, parts.shape, dtype, COUNT(*) FROM entries JOIN parts USING (position) "
        f"WHERE removed IS NOT NULL AND NOT {PINNED} AND NOT {BACK} GROUP BY removed, parts.shape, dtype"
    )
    sizes: dict[int, int] = {}
    for revision, *row in transaction.connection.execute(query):
        sizes[revision] = sizes.get(revision, 0) + _total([row])
    return sorted(sizes.items(), reverse=True)


def _on_disk(transaction: BankTransaction) -> int:
    return sum(shard.size for shard in transaction.shards().values())


def _fits(total: int, needed: int) -> bool:
    return total <= needed * (1 + SPARE) + SPARE_BYTES


def _total(rows: Iterable[Iterable[object]]) -> int:
    """Bytes of parts, by shape, type and number; what no bank writes takes none."""
    total = 0
    for shape, dtype, count in rows:
        if isinstance(dtype, str) and dtype in DTYPES and isinstance(count, int):
            try:
                total += prod(read_shape(shape)) * DTYPES[dtype].itemsize * count
            except FlawError:
                continue
    return total
