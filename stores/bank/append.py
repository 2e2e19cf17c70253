"""One append to a Memory Bank: what is new, what is evicted, and where new tensors are stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .entries import FEATURES, NewEntry, check_feature_shape
from .maintenance.space import free_by_eviction, is_crowded
from .shards import Shard, StoredRow, grouped_by_size, write_shard
from .snapshot import now
from .transaction import BankTransaction


@dataclass(frozen=True)
class AppendResult:
    """What an append did with its batch.

    Attributes:
        added: latents new to the bank.
        duplicates: latents that the bank already held, or that occur twice in the batch.
        evicted: entries removed to make room.
        beyond_capacity: latents not added because later ones of the same batch and pinned entries fill the bank.
        revision: the bank's revision afterwards; unchanged if nothing was new.
        ids: of the batch's latents, in order.
        forgotten: removed entries deleted from disk to free space, with the revisions that needed them.
        crowded: whether earlier revisions may need too much of the disk.
    """

    added: int
    duplicates: int
    evicted: int
    beyond_capacity: int
    revision: int
    ids: tuple[str, ...]
    forgotten: int = 0
    crowded: bool = False


def append_entries(
    transaction: BankTransaction, batch: Sequence[NewEntry], capacity: int, written: list[Shard]
) -> AppendResult:
    """Append a batch of one latent format within a transaction.

    Args:
        transaction: of the database, not yet committed.
        batch: the entries, at least one.
        capacity: maximum number of entries afterwards.
        written: gains every shard once it is on disk, so that the caller can delete them after a failure.

    Raises:
        OSError: a shard could not be written.
        ValueError: features have another shape than the bank's of the same space.
    """
    _check_features(transaction, batch[0])
    ids = tuple(new.id for new in batch)
    living, pinned = transaction.living_among(ids), transaction.pinned_among(ids)
    distinct = {new.id: new for new in reversed(batch)}  # of equal latents, the first stays
    newcomers = [new for new in batch if distinct.pop(new.id, None) is new]
    others = [new for new in newcomers if new.id not in pinned]
    surplus = others[: max(len(others) - max(capacity - transaction.count_living(pinned=True), 0), 0)]
    kept = [new for new in newcomers if new not in surplus]
    fresh = [new for new in kept if new.id not in living]
    lacking = {new.id: _lacking_parts(transaction, new, living) for new in kept}
    beyond = sum(new.id not in living for new in surplus)
    duplicates = len(batch) - len(fresh) - beyond
    if not any(lacking.values()):
        return AppendResult(0, duplicates, 0, beyond, transaction.newest()[0], ids)

    revision, created = transaction.newest()[0] + 1, now()
    # The batch itself is never evicted: repeating an append to a full bank changes nothing.
    overflow = max(transaction.count_living() + len(fresh) - capacity, 0) if fresh else 0
    leaving = transaction.oldest_evictable(overflow, lacking)
    evicted = list(leaving)
    transaction.remove(list(leaving.values()), revision)
    for new in fresh:
        living[new.id] = transaction.add_entry(new, created, revision)
    for group in grouped_by_size([sum(part.nbytes for part in lacking[new.id].values()) for new in kept]):
        parts = {kept[place].id: lacking[kept[place].id] for place in group}
        for identity, row in _write_parts(transaction.shard_folder, parts, written):
            transaction.add_part(living[identity], row, revision)
    described = [[new.id, new.prompt, new.seed] for new in fresh]
    transaction.publish(revision, created, ["append", described, evicted, [shard.digest for shard in written]])
    crowded = bool(evicted) and is_crowded(transaction)
    forgotten = free_by_eviction(transaction) if crowded else 0
    return AppendResult(len(fresh), duplicates, len(evicted), beyond, revision, ids, forgotten, crowded)


def import_entries(
    transaction: BankTransaction, batches: Iterable[Sequence[NewEntry]], origin: str, written: list[Shard]
) -> AppendResult:
    """Add all entries of another bank in one revision, evicting none.

    Args:
        transaction: of the database, not yet committed.
        batches: entries of one latent format; those of a batch have the same parts and shapes.
        origin: what is imported, for the revision's digest.
        written: as in ``append_entries``.

    Raises:
        as ``append_entries``.
    """
    living = transaction.living()
    revision, created = transaction.newest()[0] + 1, now()
    added, ids, changed = 0, list[str](), False
    for batch in batches:
        _check_features(transaction, batch[0])
        for new in batch:
            ids.append(new.id)
            if new.id not in living:
                living[new.id] = transaction.add_entry(new, created, revision)
                added += 1
        lacking = {new.id: parts for new in batch if (parts := _lacking_parts(transaction, new, living))}
        for identity, row in _write_parts(transaction.shard_folder, lacking, written):
            transaction.add_part(living[identity], row, revision)
        changed = changed or bool(lacking)
    if not changed:
        return AppendResult(0, len(ids), 0, 0, revision - 1, tuple(ids))
    transaction.publish(revision, created, ["import", origin])
    return AppendResult(added, len(ids) - added, 0, 0, revision, tuple(ids))


def _check_features(transaction: BankTransaction, new: NewEntry) -> None:
    """Check the shapes of one entry's features: all features of a batch have the same."""
    for name in (name for name in new.parts if name.startswith(FEATURES)):
        check_feature_shape(name, transaction.part_shape(name), tuple(new.parts[name].shape))


def _lacking_parts(transaction: BankTransaction, new: NewEntry, living: Mapping[str, int]) -> dict[str, Tensor]:
    known = transaction.part_names(living[new.id]) if new.id in living else set()
    return {name: part for name, part in new.parts.items() if name not in known}


def _write_parts(
    folder: Path, parts: Mapping[str, Mapping[str, Tensor]], written: list[Shard]
) -> list[tuple[str, StoredRow]]:
    """Write parts, given by entry and name, into one shard with a tensor per name; returns their locations."""
    columns: dict[str, dict[str, Tensor]] = {}
    for identity, named in parts.items():
        for name, part in named.items():
            columns.setdefault(name, {})[identity] = part
    if not columns:
        return []
    shard = write_shard(folder, {name: torch.stack(list(column.values())) for name, column in columns.items()})
    written.append(shard)
    return [
        (identity, StoredRow(shard, name, row, tuple(part.shape), part.dtype))
        for name, column in columns.items()
        for row, (identity, part) in enumerate(column.items())
    ]
