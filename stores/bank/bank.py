"""Memory Bank on disk: pictures that outlive the process, as an append-only history whose revisions can be reproduced.

A bank is the folder ``<root>/<name>/`` with ``index.sqlite`` and ``shards/<digest>.safetensors``. An append writes its
shards under the database's lock and then publishes them in one transaction; whatever dies between the two leaves files
that nothing refers to, which are ignored and swept by ``vacuum``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..encoders import check_encoder
from ..files import validate_bank_name
from .append import AppendResult, append_entries
from .database import BankDatabase
from .entries import (
    FEATURES,
    THUMBNAILS,
    BankEntry,
    prepare_entries,
)
from .errors import (
    BankDamagedError,
    BankError,
    BankWriteError,
    LatentFormatError,
    RevisionError,
    ShardMissingError,
    translate_write_errors,
)
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
from .snapshot import (
    BankSnapshot,
    BankView,
    check_latent_format,
    now,
)

__all__ = [
    "AppendResult",
    "BankDamagedError",
    "BankEntry",
    "BankError",
    "BankInfo",
    "BankSnapshot",
    "BankView",
    "BankWriteError",
    "Damage",
    "LatentFormatError",
    "MemoryBank",
    "RepairResult",
    "RevisionError",
    "VacuumResult",
    "validate_bank_name",
]

DEFAULT_CAPACITY = 10_000
MERGED_AT = 64
"""Whenever a bank has as many small files, or a multiple, they are merged."""


@dataclass(frozen=True)
class BankInfo:
    """What a bank holds.

    Attributes:
        name: its name.
        revision: its newest revision.
        oldest_revision: the oldest that can be reproduced.
        entries: how many pictures it remembers.
        latent_format: their format, None while there are none.
        shapes: how many have each latent shape.
        spaces: how many have features of each space.
        thumbnails: how many have a thumbnail.
        disk_bytes: size of all shards, those of evicted entries included.
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
    """A named bank under a folder; nothing is made on disk before the first append.

    A full bank evicts its oldest entries first, but never one of the batch that is just being remembered, so that
    remembering the same batch again changes nothing. As many evicted entries as the bank can hold stay on disk for
    older revisions; earlier ones are forgotten, and so are all by ``vacuum``.

    Args:
        root: folder of all banks.
        name: the bank's name, see ``validate_bank_name``.
        capacity: how many entries an append leaves at most.

    Raises:
        ValueError: the name is not fit or the capacity is below 1.
    """

    def __init__(self, root: Path, name: str, *, capacity: int = DEFAULT_CAPACITY) -> None:
        if capacity < 1:
            raise ValueError(f"A bank's capacity must be at least 1, got {capacity}.")
        self.name = validate_bank_name(name)
        self.capacity = capacity
        self.folder = Path(root).absolute() / self.name
        self._database = BankDatabase(self.folder / "index.sqlite", self.folder / "shards")

    @property
    def revision(self) -> int:
        """The newest revision; 0 for a bank that was never appended to."""
        with self._database.reading() as transaction:
            return transaction.newest()[0]

    def fingerprint(self) -> str:
        """Hash of the bank's history, hexadecimal: changes exactly when its content does; no tensor is read."""
        with self._database.reading() as transaction:
            return transaction.newest()[1]

    def snapshot(self, revision: int | None = None) -> BankSnapshot:
        """Return the bank at a revision (default: the newest), without reading tensors yet.

        Raises:
            RevisionError: the revision is not there yet, was vacuumed, or lost entries to damage.
            BankDamagedError: the database or a shard of this revision is missing or has a wrong size.
        """
        try:
            return self._snapshot(revision)
        except ShardMissingError:
            # Maintenance of another process may have moved it between the two looks.
            return self._snapshot(revision)

    def _snapshot(self, revision: int | None) -> BankSnapshot:
        with self._database.reading() as transaction:
            if revision is None:
                revision = transaction.newest()[0]
            entries, parts, flaws = transaction.entries_at(revision)
        rows = [row for known in parts.values() for row in known.values()]
        check_sizes(self._database.shard_folder, {row.shard for row in rows})
        return BankSnapshot(
            self.name,
            revision,
            tuple(entries.values()),
            tuple(parts.values()),
            tuple(flaw.what for flaw in flaws),
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
        """Remember a batch; arguments as in ``prepare_entries``.

        Latents that the bank has are not added again; they gain the thumbnail or the features that they lack.

        Raises:
            LatentFormatError: the bank holds latents of another format.
            EncoderError: the bank holds latents of another VAE.
            BankWriteError: the batch could not be stored; the bank keeps what it had.
            ValueError: the batch is not fit to be remembered.
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
            # What cannot be swept now is ignored by readers and swept by the next vacuum.
            if written:
                with suppress(BankError):
                    sweep(self._database, [shard.path for shard in written])
            raise
        # The batch is stored: what cannot be tidied up now is so another time.
        with suppress(BankError, OSError):
            if result.forgotten:
                sweep(self._database, own_files(self._database.shard_folder))
            if small // MERGED_AT > (small - len(written)) // MERGED_AT:
                compact(self._database)
        return result

    def clear(self) -> int:
        """Forget all entries, as a new revision, and return it; older revisions stay until ``vacuum``.

        Raises:
            BankWriteError: the bank could not be written; it keeps what it had.
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
        """Count what the bank holds; no tensor is read."""
        with self._database.reading() as transaction:
            newest, oldest = transaction.newest()[0], transaction.oldest()
            contents = transaction.entries_at(newest)
            disk_bytes = sum(shard.size for shard in transaction.shards().values())
        shapes: dict[tuple[int, ...], int] = {}
        names: dict[str, int] = {}
        entries = list(contents.entries.values())
        for entry, known in zip(entries, contents.parts.values(), strict=True):
            shapes[entry.shape] = shapes.get(entry.shape, 0) + 1
            for name in known:
                names[name] = names.get(name, 0) + 1
        return BankInfo(
            name=self.name,
            revision=newest,
            oldest_revision=oldest,
            entries=len(entries),
            latent_format=entries[0].latent_format if entries else None,
            shapes=shapes,
            spaces={name[len(FEATURES) :]: count for name, count in names.items() if name.startswith(FEATURES)},
            thumbnails=names.get(THUMBNAILS, 0),
            disk_bytes=disk_bytes,
        )

    def verify(self) -> tuple[Damage, ...]:
        """Read all shards and return the damaged ones; see ``maintenance.find_damage``."""
        return find_damage(self._database)

    def repair(self) -> RepairResult:
        """Drop the entries of damaged shards and keep all others; see ``maintenance.drop_damage``."""
        return drop_damage(self._database)

    def compact(self) -> int:
        """Merge the files of small appends, and return how many; see ``maintenance.compact``."""
        return compact(self._database) if self._database.path.exists() else 0

    def vacuum(self, keep_from: int | None = None) -> VacuumResult:
        """Give up revisions before ``keep_from`` (default: all but the newest) and free their space."""
        if not self._database.path.exists():
            return VacuumResult(0, 0, 0, 0)
        return vacuum(self._database, keep_from)
