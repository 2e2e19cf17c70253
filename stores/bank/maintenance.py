"""Maintenance of a Memory Bank: find damage, drop what is damaged, free what no revision needs any more."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from ..files import UNFINISHED_SUFFIX, remove_own
from .database import BankDatabase
from .entries import BankEntry
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
from .transaction import BankTransaction, Contents


@dataclass(frozen=True)
class Damage:
    """Something of a bank that cannot be used.

    Attributes:
        reason: a sentence that names the file or the entry.
        shard: the damaged file; None where the file is sound, or the database names none of the bank's own.
        parts: what must be dropped, as positions of entries and names of their parts.
    """

    reason: str
    shard: Shard | None
    parts: tuple[tuple[int, object], ...]


@dataclass(frozen=True)
class RepairResult:
    """What a repair did.

    Attributes:
        dropped: ids of the entries whose latents are gone, evicted ones included.
        shards: how many damaged shards were taken out.
        revision: the bank's revision afterwards.
    """

    dropped: tuple[str, ...]
    shards: int
    revision: int


@dataclass(frozen=True)
class VacuumResult:
    """What a vacuum freed.

    Attributes:
        entries: evicted entries that were forgotten for good.
        files: files that were deleted, leftovers of crashes included.
        freed: their bytes.
        oldest_revision: the oldest revision that can still be reproduced.
    """

    entries: int
    files: int
    freed: int
    oldest_revision: int


def find_damage(database: BankDatabase) -> tuple[Damage, ...]:
    """Read everything, of evicted entries too: files, what they hold, and what the database says of it.

    Raises:
        BankError: the database itself cannot be read.
    """
    with database.reading() as transaction:
        contents, shards = transaction.all_entries(), transaction.shards()
    damages = [Damage(flaw.what, None, ((flaw.position, flaw.part),)) for flaw in contents.flaws]
    users: dict[Shard, list[tuple[int, StoredRow]]] = {shard: [] for shard in shards.values()}
    for position, parts in contents.parts.items():
        for row in parts.values():
            users[row.shard].append((position, row))
    for shard, rows in users.items():
        damages += _damages_of(shard, rows, contents)
    return tuple(damages)


def _damages_of(shard: Shard, rows: list[tuple[int, StoredRow]], contents: Contents) -> Iterator[Damage]:
    try:
        tensors = read_shard(shard)
    except BankDamagedError as error:
        yield Damage(str(error), shard, tuple((position, row.tensor) for position, row in rows))
        return
    for position, row in rows:
        if what := row_flaw(tensors, row):
            yield Damage(flawed(contents.entries[position], shard, what), None, ((position, row.tensor),))


def flawed(entry: BankEntry, shard: Shard, what: str) -> str:
    """The sentence about an entry that cannot be used although its file is sound."""
    return f"Entry {entry.id[:12]} in {shard.path.name}: {what}."


def drop_damage(database: BankDatabase) -> RepairResult:
    """Take everything damaged, and the entries whose latents it held, out of the bank, as a new revision.

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
    """Forget entries that no revision from ``keep_from`` (default: the newest) on needs, and delete unused files.

    A shard stays as long as one of its entries does.

    Raises:
        BankWriteError: the database could not be changed.
    """
    with database.writing() as transaction:
        newest, oldest = transaction.newest()[0], transaction.oldest()
        oldest = max(oldest, min(newest if keep_from is None else keep_from, newest))
        entries = transaction.forget_before(oldest)
    # Only after the database has forgotten them: a crash here leaves unused files, never a database without its files.
    files, freed = sweep(database, own_files(database.shard_folder))
    return VacuumResult(entries, files, freed, oldest)


def small_shards(transaction: BankTransaction) -> tuple[list[Shard], Contents]:
    """Shards of which much is unused or which are small, where merging them makes fewer, and what lies in all."""
    contents = transaction.all_entries()
    used: dict[Shard, int] = {}
    for parts in contents.parts.values():
        for row in parts.values():
            used[row.shard] = used.get(row.shard, 0) + part_bytes(row)
    small = [shard for shard, count in used.items() if shard.size < SHARD_BYTES // 2 or 2 * count < shard.size]
    return (small if len(small) > 1 else []), contents


def compact(database: BankDatabase) -> int:
    """Merge small shards into larger ones and return how many; no revision and no content changes.

    Snapshots that are held find their parts again by the database.

    Raises:
        BankWriteError: the database could not be changed; the bank is as it was.
        BankDamagedError: a shard is damaged: repair it first.
    """
    written: list[Shard] = []
    try:
        with database.writing() as transaction:
            small, contents = small_shards(transaction)
            for group in _alike(contents, frozenset(small)):
                names = [name for name, row in contents.parts[group[0]].items() if row.shard in small]
                columns = {name: [contents.parts[position][name] for position in group] for name in names}
                tensors = {name: _sound(gather(rows), rows) for name, rows in columns.items()}
                shard = write_shard(database.shard_folder, tensors)
                written.append(shard)
                for rows in columns.values():
                    for place, (position, row) in enumerate(zip(group, rows, strict=True)):
                        transaction.move_part(position, replace(row, shard=shard, row=place))
            transaction.drop_unused_shards()
    except BaseException:
        with suppress(BankError):
            sweep(database, [shard.path for shard in written])
        raise
    sweep(database, [shard.path for shard in small])
    return len(small)


def _alike(contents: Contents, small: Set[Shard]) -> Iterator[list[int]]:
    """Positions of entries whose parts in small shards have the same names, shapes and types, a shard's worth each."""
    kinds: dict[object, list[tuple[int, int]]] = {}
    for position, parts in contents.parts.items():
        moved = {name: row for name, row in parts.items() if row.shard in small}
        if moved:
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
    """What may be a bank's in its folder of shards, by name: shards and unfinished files."""
    with os.scandir(folder) as listing:
        names = [item.name for item in listing]
    return [folder / name for name in names if is_shard_name(name) or name.endswith(UNFINISHED_SUFFIX)]


def sweep(database: BankDatabase, candidates: Iterable[Path]) -> tuple[int, int]:
    """Delete those of the files that the database does not refer to, and return how many and their bytes.

    It holds the database's lock meanwhile, so that no other process is just about to publish one of them.

    Raises:
        BankWriteError: the database could not be locked or a file not be deleted.
    """
    files = freed = 0
    with database.writing() as transaction:
        used = {shard.path for shard in transaction.shards().values()}
        for path in candidates:
            if path not in used and (size := remove_own(path)) is not None:
                files, freed = files + 1, freed + size
    return files, freed
