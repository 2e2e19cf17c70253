"""Maintenance of a Memory Bank: find and drop damage, free what no revision needs, merge small files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from ..files import is_unfinished, remove_own
from .database import BankDatabase
from .errors import BankDamagedError, BankError
from .records import part_bytes
from .shards import (
    SHARD_BYTES,
    Rows,
    Shard,
    StoredRow,
    damaged,
    gather,
    grouped_by_size,
    is_shard_name,
    read_shard,
    row_flaw,
    write_shard,
)
from .snapshot import now
from .space import wasteful_shards
from .transaction import BankTransaction, Listing


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


@dataclass(frozen=True)
class VacuumResult:
    """What a vacuum freed.

    Attributes:
        entries: number of evicted entries deleted.
        files: number of files deleted, including leftovers of crashes.
        freed: their bytes.
        oldest_revision: the oldest revision that can still be reproduced.
    """

    entries: int
    files: int
    freed: int
    oldest_revision: int


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


def vacuum(database: BankDatabase, keep_from: int | None) -> VacuumResult:
    """Delete entries that no revision from ``keep_from`` (default: the newest) on needs, and unused files.

    A shard stays as long as it holds a part of any entry.

    Raises:
        BankWriteError: the database could not be changed.
    """
    with database.writing() as transaction:
        newest, oldest = transaction.newest()[0], transaction.oldest()
        oldest = max(oldest, min(newest if keep_from is None else keep_from, newest))
        entries = transaction.forget_before(oldest)
    # Only after the commit: a crash leaves unused files, never a database without its files.
    files, freed = sweep(database, own_files(database.shard_folder))
    return VacuumResult(entries, files, freed, oldest)


def free_unused(database: BankDatabase) -> int:
    """Write shards anew until what is unused in them is little, and return how many.

    Raises:
        as ``compact``.
    """
    return _rewrite(database, wasteful_shards)


def compact(database: BankDatabase) -> int:
    """Merge shards that are small or half unused, and return how many. Revisions and content stay the same.

    Snapshots that are held find their parts again through the database.

    Raises:
        BankWriteError: the database could not be changed; the bank is unchanged.
        BankDamagedError: a shard is damaged: repair the bank first.
    """
    return _rewrite(database, lambda transaction: _small_shards(transaction.all_entries()))


def _rewrite(database: BankDatabase, choose: Callable[[BankTransaction], Set[Shard]]) -> int:
    written: list[Shard] = []
    try:
        with database.writing() as transaction:
            chosen = choose(transaction)
            if not chosen:
                return 0
            listing = transaction.all_entries()
            twins = _twins(listing, chosen)
            for group in _alike(listing, chosen, twins):
                names = [name for name, row in listing.parts[group[0]].items() if row.shard in chosen]
                columns = {name: [listing.parts[position][name] for position in group] for name in names}
                tensors = {name: _sound(gather(rows), rows) for name, rows in columns.items()}
                shard = write_shard(database.shard_folder, tensors)
                written.append(shard)
                for rows in columns.values():
                    for place, (first, row) in enumerate(zip(group, rows, strict=True)):
                        for position in twins[first]:
                            transaction.move_part(position, replace(row, shard=shard, row=place))
            transaction.drop_unused_shards()
    except BaseException:
        with suppress(BankError):
            sweep(database, [shard.path for shard in written])
        raise
    sweep(database, [shard.path for shard in chosen])
    return len(chosen)


def _small_shards(listing: Listing) -> Set[Shard]:
    used: Counter[Shard] = Counter()
    for parts in listing.parts.values():
        for row in parts.values():
            used[row.shard] += part_bytes(row)
    small = {shard for shard, count in used.items() if shard.size < SHARD_BYTES // 2 or 2 * count < shard.size}
    return small if len(small) > 1 else set()


def _twins(listing: Listing, small: Set[Shard]) -> dict[int, list[int]]:
    """Positions whose parts in small shards are the very same rows, by the first of them."""
    found: dict[object, list[int]] = {}
    for position, parts in listing.parts.items():
        if moved := frozenset((name, row) for name, row in parts.items() if row.shard in small):
            found.setdefault(moved, []).append(position)
    return {positions[0]: positions for positions in found.values()}


def _alike(listing: Listing, small: Set[Shard], positions: Iterable[int]) -> Iterator[list[int]]:
    """Group entries whose parts in small shards have the same names, shapes and types; a group fills a shard."""
    kinds: dict[object, list[tuple[int, int]]] = {}
    for position in positions:
        moved = {name: row for name, row in listing.parts[position].items() if row.shard in small}
        kind = tuple(sorted((name, row.shape, str(row.dtype)) for name, row in moved.items()))
        kinds.setdefault(kind, []).append((position, sum(map(part_bytes, moved.values()))))
    for members in kinds.values():
        for places in grouped_by_size([size for _, size in members]):
            yield [members[place][0] for place in places]


def _sound(found: Rows, rows: Sequence[StoredRow]) -> Tensor:
    for place, what in found.flaws.items():
        raise damaged(rows[place].shard, f"cannot be merged: {what}")
    return found.values


def own_files(folder: Path) -> list[Path]:
    """The files in a bank's folder of shards that are its own by their names: shards and unfinished files."""
    with os.scandir(folder) as listing:
        names = [item.name for item in listing]
    return [folder / name for name in names if is_shard_name(name) or is_unfinished(name)]


def sweep(database: BankDatabase, candidates: Iterable[Path]) -> tuple[int, int]:
    """Delete the files that the database does not refer to; returns their number and bytes.

    The database stays locked meanwhile, so that no other process can be about to publish one of them.

    Raises:
        BankWriteError: the database could not be locked, or a file could not be deleted.
    """
    files = freed = 0
    with database.writing() as transaction:
        used = {shard.path for shard in transaction.shards().values()}
        for path in candidates:
            if path not in used and (size := remove_own(path)) is not None:
                files, freed = files + 1, freed + size
    return files, freed
