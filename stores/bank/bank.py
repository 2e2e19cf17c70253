"""Memory Bank on disk: images that outlive the process, as an append-only history with reproducible revisions.

A bank is the folder ``<root>/<name>/`` with ``index.sqlite`` and ``shards/<digest>.safetensors``. An append holds the
database's lock, writes its shards and publishes them in one transaction. A crash before that leaves files that nothing
refers to: readers ignore them, and ``vacuum`` deletes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from torch import Tensor

from ..encoders import check_encoder
from ..files import validate_name
from .append import AppendResult, append_entries, import_entries
from .changes import clear_entries, pin_entries, remove_entries, restore, undo
from .database import DATABASE, SHARDS, BankDatabase
from .entries import LATENTS, NewEntry, prepare_entries
from .errors import BankError, ShardMissingError, translate_write_errors
from .maintenance.cleaning import VacuumResult, compact, free_unused, own_files, sweep, vacuum
from .maintenance.damage import Damage, RepairResult, drop_damage, find_damage
from .maintenance.directory import copy_bank, delete_bank, rename_bank
from .maintenance.info import BankInfo, RevisionNeeds, bank_info, revision_needs
from .recent import Contents, read_newest
from .shards import SHARD_BYTES, Shard, check_sizes
from .snapshot import BankSnapshot, check_latent_format
from .transaction import BankTransaction

Progress = Callable[[int, int], None]

DEFAULT_CAPACITY = 10_000
MERGED_AT = 64
"""Small files are merged whenever their number passes a multiple of this."""


class MemoryBank:
    """A named bank; the first append creates its folder.

    A full bank evicts its oldest entries first, but never an entry of the batch being appended, so that appending a
    batch twice changes nothing. Pinned entries are never evicted. Eviction frees disk, see ``space``: the earliest
    revisions can then no longer be reproduced, except pinned ones.

    Args:
        root: folder of all banks.
        name: the bank's name, see ``validate_name``.
        capacity: maximum number of entries after an append.

    Raises:
        ValueError: the name is invalid or the capacity is below 1.
    """

    def __init__(self, root: Path, name: str, *, capacity: int = DEFAULT_CAPACITY) -> None:
        if capacity < 1:
            raise ValueError(f"A bank's capacity must be at least 1, got {capacity}.")
        self.name = validate_name(name, "bank")
        self.capacity = capacity
        self.folder = Path(root).absolute() / self.name
        self._database = BankDatabase(self.folder / DATABASE, self.folder / SHARDS)

    @property
    def revision(self) -> int:
        """The newest revision; 0 before the first append."""
        with self._database.reading() as transaction:
            return transaction.newest()[0]

    def fingerprint(self) -> str:
        """Hash of the bank's history, hexadecimal; changes exactly when its content does. Reads no tensors."""
        with self._database.reading() as transaction:
            return transaction.newest()[1]

    def snapshot(self, revision: int | None = None) -> BankSnapshot:
        """The bank at a revision (default: the newest). Reads no tensors yet.

        Raises:
            RevisionError: the revision does not exist yet, was vacuumed, or lost entries to damage.
            BankDamagedError: the database or a shard of this revision is missing or has the wrong size.
        """
        try:
            return self._snapshot(revision)
        except ShardMissingError:
            # Another process may have compacted the bank after the database was read.
            return self._snapshot(revision)

    def _snapshot(self, revision: int | None) -> BankSnapshot:
        with self._database.reading() as transaction:
            newest = transaction.newest()[0]
            if revision is None or revision == newest:
                contents = read_newest(self._database.path, transaction)
            else:
                contents = Contents.from_listing(transaction.entries_at(revision))
        check_sizes(self._database.shard_folder, contents.shards)
        lost: dict[int, str] = {}
        for flaw in contents.flaws:
            if flaw.part == LATENTS:
                lost.setdefault(flaw.position, flaw.what)
        return BankSnapshot(
            self.name,
            newest if revision is None else revision,
            contents.entries,
            contents.parts,
            tuple(flaw.what for flaw in contents.flaws),
            tuple(lost.values()),
            self._database,
        )

    def append(
        self,
        latents: Tensor,
        *,
        latent_format: str,
        prompts: str | Sequence[str | None] | None = None,
        seeds: int | Sequence[int | None] | None = None,
        thumbnails: Tensor | None = None,
        features: Mapping[str, Tensor] | None = None,
        encoder: str = "",
    ) -> AppendResult:
        """Add a batch; arguments as in ``prepare_entries``.

        Latents that the bank already holds are not added again, but gain missing thumbnails and features.

        Raises:
            LatentFormatError: the bank holds latents of another format.
            EncoderError: the bank holds latents of another VAE.
            BankWriteError: the batch could not be stored; the bank is unchanged.
            ValueError: the batch is invalid.
        """
        batch = prepare_entries(
            latents,
            latent_format=latent_format,
            prompts=prompts,
            seeds=seeds,
            thumbnails=thumbnails,
            features=features,
            encoder=encoder,
        )
        if not batch:
            return AppendResult(0, 0, 0, 0, self.revision, ())
        with self._storing(latent_format, encoder) as (transaction, written):
            result = append_entries(transaction, batch, self.capacity, written)
            small = sum(shard.size < SHARD_BYTES // 2 for shard in transaction.shards().values())
        # The batch is stored; cleaning up can wait.
        with suppress(BankError, OSError):
            if result.forgotten:
                sweep(self._database, own_files(self._database.shard_folder))
            if result.crowded:
                free_unused(self._database)
            if small // MERGED_AT > (small - len(written)) // MERGED_AT:
                compact(self._database)
        return result

    def take_in(
        self, batches: Iterable[Sequence[NewEntry]], latent_format: str, encoder: str, origin: str
    ) -> AppendResult:
        """Add the images of another bank in one revision, whatever the capacity: only later appends evict.

        Args:
            batches: entries; those of a batch have the same parts and shapes.
            latent_format: of all.
            encoder: fingerprint of their VAE; "" where unknown.
            origin: digest of what is taken in.

        Raises:
            as ``append``.
        """
        with self._storing(latent_format, encoder) as (transaction, written):
            return import_entries(transaction, batches, origin, written)

    @contextmanager
    def _storing(self, latent_format: str, encoder: str) -> Iterator[tuple[BankTransaction, list[Shard]]]:
        """A transaction for entries of a format and a VAE, and a list for the shards that a failure is to delete."""
        written: list[Shard] = []
        try:
            with translate_write_errors(self._database.path):
                self._database.shard_folder.mkdir(parents=True, exist_ok=True)
            with self._database.writing() as transaction:
                check_latent_format(self.name, transaction.latent_format(), latent_format, remembering=True)
                held = transaction.encoder() if encoder else ""
                check_encoder(f"The bank '{self.name}'", held, encoder, "Use another bank for this one.")
                yield transaction, written
        except BaseException:
            # Readers ignore what cannot be deleted now; the next vacuum deletes it.
            if written:
                with suppress(BankError):
                    sweep(self._database, [shard.path for shard in written])
            raise

    def remove(self, ids: Sequence[str]) -> int:
        """Remove the images of these ids in a new revision, which is returned; earlier revisions keep them.

        Raises:
            BankError: the bank does not hold one of them; nothing was removed.
            BankWriteError: the bank could not be written; it is unchanged.
        """
        return remove_entries(self._database, ids) if ids else self.revision

    def clear(self) -> int:
        """Remove all images, pinned ones too, in a new revision, which is returned; earlier revisions keep them.

        Raises:
            BankWriteError: the bank could not be written; it is unchanged.
        """
        return clear_entries(self._database) if self.revision else 0

    def undo(self) -> int:
        """Take back the newest change, such as an append or a removal, in a new revision, which is returned.

        Undoing again takes back the change before, as in an editor; ``restore`` takes back an undo. Images come back in
        the places that they had. What known images gained by the change, such as previews, is dropped from earlier
        revisions too. Pins are no change.

        Raises:
            BankError: there is nothing to undo.
            RevisionError: what it needs was vacuumed, evicted or damaged.
            BankWriteError: the bank could not be written; it is unchanged.
        """
        if not self.revision:
            raise BankError(f"There is nothing to undo: the bank '{self.name}' was never changed.")
        return undo(self._database)

    def restore(self, revision: int) -> int:
        """Give the bank the images of an earlier revision again, in a new one, which is returned.

        Raises:
            RevisionError: the revision does not exist yet, was vacuumed, or lost entries to damage.
            BankWriteError: the bank could not be written; it is unchanged.
        """
        return restore(self._database, revision) if self._reproduces(revision) else 0

    def pin(self, ids: Sequence[str], pinned: bool = True) -> None:
        """Pin images, so that they are never evicted, or let them go again. Makes no new revision.

        Raises:
            BankError: the bank does not hold one of them; nothing was changed.
            BankWriteError: the bank could not be written; it is unchanged.
        """
        if ids:
            pin_entries(self._database, ids, pinned)

    def pin_revision(self, revision: int, pinned: bool = True) -> None:
        """Pin a revision, so that neither eviction nor ``vacuum`` deletes what it needs, or let it go again.

        Raises:
            RevisionError: the revision does not exist yet, was vacuumed, or lost entries to damage.
            BankWriteError: the bank could not be written; it is unchanged.
        """
        if not self._reproduces(revision):
            return
        with self._database.writing() as transaction:
            transaction.pin_revision(revision, pinned)

    def _reproduces(self, revision: int) -> bool:
        """Whether the bank has ever been changed; raises unless the revision can be reproduced."""
        with self._database.reading() as transaction:
            transaction.positions_at(revision)
            return transaction.newest()[0] > 0

    def needs(self, revision: int) -> RevisionNeeds:
        """What a revision needs that the newest does not.

        Raises:
            RevisionError: the revision does not exist yet, was vacuumed, or lost entries to damage.
        """
        return revision_needs(self._database, revision)

    def rename(self, new_name: str) -> MemoryBank:
        """Give the bank another name, and return it under that name; this object then stands for an empty bank.

        Raises:
            BankError: there is no such bank, or the name is taken.
            BankWriteError: another program holds the bank, or the folder could not be moved; it is unchanged.
            ValueError: the name is invalid.
        """
        renamed = MemoryBank(self.folder.parent, new_name, capacity=self.capacity)
        rename_bank(self._database, renamed.folder)
        return renamed

    def copy_to(self, new_name: str, progress: Progress = lambda done, total: None) -> MemoryBank:
        """Copy the bank with all its revisions, and return the copy.

        Args:
            new_name: of the copy.
            progress: told (files copied, files in all).

        Raises:
            BankError: there is no such bank, or the name is taken.
            BankDamagedError: a file is damaged: repair the bank first.
            BankWriteError: the copy could not be written; nothing of it is left.
            ValueError: the name is invalid.
        """
        copied = MemoryBank(self.folder.parent, new_name, capacity=self.capacity)
        copy_bank(self._database, copied.folder, progress)
        return copied

    def delete(self) -> list[Path]:
        """Delete the bank for good, a damaged one too; returns files in its folder that are not its own, and stay.

        Raises:
            BankWriteError: another program holds the bank, or a file could not be deleted.
        """
        return delete_bank(self._database)

    def info(self) -> BankInfo:
        """Summary of the bank. Reads no tensors."""
        return bank_info(self._database)

    def verify(self, progress: Progress = lambda done, total: None) -> tuple[Damage, ...]:
        """Read everything and return what is damaged; see ``maintenance.find_damage``."""
        return find_damage(self._database, progress)

    def repair(self) -> RepairResult:
        """Drop what is damaged and keep the rest; see ``maintenance.drop_damage``."""
        return drop_damage(self._database)

    def compact(self) -> int:
        """Merge small files and return how many; see ``maintenance.compact``."""
        return compact(self._database) if self._database.path.exists() else 0

    def vacuum(self, keep_from: int | None = None) -> VacuumResult:
        """Delete revisions before ``keep_from`` (default: all but the newest) and free their space."""
        if not self._database.path.exists():
            return VacuumResult(0, 0, 0, 0)
        result = vacuum(self._database, keep_from)
        with suppress(BankError):
            free_unused(self._database)
        return result
