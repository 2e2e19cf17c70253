"""Memory Bank on disk: images that outlive the process, as an append-only history with reproducible revisions.

A bank is the folder ``<root>/<name>/`` with ``index.sqlite`` and ``shards/<digest>.safetensors``. An append holds the
database's lock, writes its shards and publishes them in one transaction. A crash before that leaves files that nothing
refers to: readers ignore them, and ``vacuum`` deletes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..encoders import check_encoder
from ..files import validate_name
from .append import AppendResult, append_entries
from .database import DATABASE, SHARDS, BankDatabase
from .entries import FEATURES, LATENTS, THUMBNAILS, prepare_entries
from .errors import BankError, ShardMissingError, translate_write_errors
from .maintenance import (
    Damage,
    RepairResult,
    VacuumResult,
    compact,
    drop_damage,
    find_damage,
    own_files,
    sweep,
    vacuum,
)
from .shards import SHARD_BYTES, Shard, check_sizes
from .snapshot import BankSnapshot, check_latent_format, now

DEFAULT_CAPACITY = 10_000
MERGED_AT = 64
"""Small files are merged whenever their number passes a multiple of this."""


@dataclass(frozen=True)
class BankInfo:
    """What a bank holds.

    Attributes:
        name: its name.
        revision: its newest revision.
        oldest_revision: the oldest that can be reproduced.
        entries: number of images.
        latent_format: their format; None for an empty bank.
        shapes: number of images by latent shape.
        spaces: number of images with features, by feature space.
        thumbnails: number of images with a thumbnail.
        disk_bytes: size of all shards, including those of evicted entries.
    """

    name: str
    revision: int
    oldest_revision: int
    entries: int
    latent_format: str | None
    shapes: Mapping[tuple[int, ...], int]
    spaces: Mapping[str, int]
    thumbnails: int
    disk_bytes: int


class MemoryBank:
    """A named bank; the first append creates its folder.

    A full bank evicts its oldest entries first, but never an entry of the batch being appended, so that appending a
    batch twice changes nothing. Up to ``capacity`` evicted entries stay on disk for older revisions; earlier ones are
    deleted, and ``vacuum`` deletes all.

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
            if revision is None:
                revision = transaction.newest()[0]
            entries, parts, flaws = transaction.entries_at(revision)
        lost: dict[int, str] = {}
        for flaw in flaws:
            if flaw.part == LATENTS:
                lost.setdefault(flaw.position, flaw.what)
        rows = [row for known in parts.values() for row in known.values()]
        check_sizes(self._database.shard_folder, {row.shard for row in rows})
        return BankSnapshot(
            self.name,
            revision,
            tuple(entries.values()),
            tuple(parts.values()),
            tuple(flaw.what for flaw in flaws),
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
        written: list[Shard] = []
        try:
            with translate_write_errors(self._database.path):
                self._database.shard_folder.mkdir(parents=True, exist_ok=True)
            with self._database.writing() as transaction:
                check_latent_format(self.name, transaction.latent_format(), latent_format, remembering=True)
                check_encoder(
                    f"The bank '{self.name}'", transaction.encoder(), encoder, "Use another bank for this one."
                )
                result = append_entries(transaction, batch, self.capacity, written)
                small = sum(shard.size < SHARD_BYTES // 2 for shard in transaction.shards().values())
        except BaseException:
            # Readers ignore what cannot be deleted now; the next vacuum deletes it.
            if written:
                with suppress(BankError):
                    sweep(self._database, [shard.path for shard in written])
            raise
        # The batch is stored; cleaning up can wait.
        with suppress(BankError, OSError):
            if result.forgotten:
                sweep(self._database, own_files(self._database.shard_folder))
            if small // MERGED_AT > (small - len(written)) // MERGED_AT:
                compact(self._database)
        return result

    def clear(self) -> int:
        """Remove all entries in a new revision, which is returned; older revisions stay until ``vacuum``.

        Raises:
            BankWriteError: the bank could not be written; it is unchanged.
        """
        if not self.revision:
            return 0
        with self._database.writing() as transaction:
            revision = transaction.newest()[0]
            if living := transaction.living():
                revision += 1
                transaction.remove(list(living.values()), revision)
                transaction.publish(revision, now(), ["clear"])
        return revision

    def info(self) -> BankInfo:
        """Summary of the bank. Reads no tensors."""
        with self._database.reading() as transaction:
            newest, oldest = transaction.newest()[0], transaction.oldest()
            contents = transaction.entries_at(newest)
            disk_bytes = sum(shard.size for shard in transaction.shards().values())
        entries = list(contents.entries.values())
        names = Counter(name for parts in contents.parts.values() for name in parts)
        return BankInfo(
            name=self.name,
            revision=newest,
            oldest_revision=oldest,
            entries=len(entries),
            latent_format=entries[0].latent_format if entries else None,
            shapes=Counter(entry.shape for entry in entries),
            spaces={name[len(FEATURES) :]: count for name, count in names.items() if name.startswith(FEATURES)},
            thumbnails=names[THUMBNAILS],
            disk_bytes=disk_bytes,
        )

    def verify(self) -> tuple[Damage, ...]:
        """Read everything and return what is damaged; see ``maintenance.find_damage``."""
        return find_damage(self._database)

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
        return vacuum(self._database, keep_from)
