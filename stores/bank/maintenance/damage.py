"""Find what of a Memory Bank is damaged, and drop it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..database import BankDatabase
from ..errors import BankDamagedError
from ..listing import Listing
from ..shards import Shard, StoredRow, read_shard, row_flaw
from ..snapshot import now
from .cleaning import sweep


@dataclass(frozen=True)
class Damage:
    """Something of a bank that cannot be used.

    Attributes:
        reason: a sentence that names the file or the entry.
        shard: the damaged file; None if the file is sound or not the bank's own.
        parts: to drop, as positions of entries and names of their parts.
    """

    reason: str
    shard: Shard | None
    parts: tuple[tuple[int, object], ...]


@dataclass(frozen=True)
class RepairResult:
    """What a repair did.

    Attributes:
        dropped: ids of the entries whose latents are lost, including evicted ones.
        shards: number of damaged shards dropped.
        revision: the bank's revision afterwards.
    """

    dropped: tuple[str, ...]
    shards: int
    revision: int


def find_damage(
    database: BankDatabase, progress: Callable[[int, int], None] = lambda done, total: None
) -> tuple[Damage, ...]:
    """Read all files, including those of evicted entries, and compare them with the database.

    Args:
        database: of the bank.
        progress: told (files read, files in all).

    Raises:
        BankError: the database itself cannot be read.
    """
    with database.reading() as transaction:
        listing, shards = transaction.all_entries(), transaction.shards()
    damages = [Damage(flaw.what, None, ((flaw.position, flaw.part),)) for flaw in listing.flaws]
    users: dict[Shard, list[tuple[int, StoredRow]]] = {shard: [] for shard in shards.values()}
    for position, parts in listing.parts.items():
        for row in parts.values():
            users[row.shard].append((position, row))
    for done, (shard, rows) in enumerate(users.items(), start=1):
        damages += _damages_of(shard, rows, listing)
        progress(done, len(users))
    return tuple(damages)


def _damages_of(shard: Shard, rows: list[tuple[int, StoredRow]], listing: Listing) -> Iterator[Damage]:
    try:
        tensors = read_shard(shard)
    except BankDamagedError as error:
        yield Damage(str(error), shard, tuple((position, row.tensor) for position, row in rows))
        return
    for position, row in rows:
        if what := row_flaw(tensors, row):
            reason = f"Entry {listing.entries[position].id[:12]} in {shard.path.name}: {what}."
            yield Damage(reason, None, ((position, row.tensor),))


def drop_damage(database: BankDatabase) -> RepairResult:
    """Drop everything damaged, and the entries whose latents are lost, in a new revision.

    Raises:
        BankWriteError: the database could not be changed.
    """
    damages = find_damage(database)
    if not damages:
        with database.reading() as transaction:
            return RepairResult((), 0, transaction.newest()[0])
    shards = {damage.shard for damage in damages if damage.shard is not None}
    with database.writing() as transaction:
        revision = transaction.newest()[0] + 1
        dropped = transaction.drop_parts((part for damage in damages for part in damage.parts), revision)
        change = sorted(f"{position}:{name}" for damage in damages for position, name in damage.parts)
        transaction.publish(revision, now(), ["repair", change])
    sweep(database, [shard.path for shard in shards])
    return RepairResult(tuple(dropped), len(shards), revision)
