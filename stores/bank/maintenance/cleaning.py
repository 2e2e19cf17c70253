"""Free what no revision of a Memory Bank needs, and merge small files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from ...files import is_unfinished, remove_own
from ..database import BankDatabase
from ..errors import BankError
from ..listing import Listing
from ..records import part_bytes
from ..shards import SHARD_BYTES, Rows, Shard, StoredRow, damaged, gather, grouped_by_size, is_shard_name, write_shard
from ..transaction import BankTransaction
from .space import wasteful_shards


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
