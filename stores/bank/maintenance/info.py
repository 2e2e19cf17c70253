"""What Memory Banks hold and take on disk, one of them or all in a folder. Reads no tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...files import validate_name
from ..database import DATABASE, SHARDS, BankDatabase
from ..entries import FEATURES, THUMBNAILS
from ..records import part_bytes
from ..shards import StoredRow
from .directory import bank_bytes, bank_names


@dataclass(frozen=True)
class BankInfo:
    """What a bank holds.

    Attributes:
        name: its name.
        revision: its newest revision.
        oldest_revision: the oldest from which on all can be reproduced.
        pinned_revisions: those that stay until they are let go; earlier ones of them can be reproduced, too.
        entries: number of images.
        latent_format: their format; None for an empty bank.
        shapes: number of images by latent shape.
        spaces: number of images with features, by feature space.
        thumbnails: number of images with a thumbnail.
        pinned: number of images that are never evicted.
        live_bytes: size of what these images hold.
        history_bytes: size of what only earlier revisions need.
        disk_bytes: size of the bank's files.
    """

    name: str
    revision: int
    oldest_revision: int
    pinned_revisions: tuple[int, ...]
    entries: int
    latent_format: str | None
    shapes: Mapping[tuple[int, ...], int]
    spaces: Mapping[str, int]
    thumbnails: int
    pinned: int
    live_bytes: int
    history_bytes: int
    disk_bytes: int


@dataclass(frozen=True)
class RevisionNeeds:
    """What an earlier revision needs on disk.

    Attributes:
        entries: number of its images that the newest revision does not hold.
        size: of these, in bytes.
        pinned: whether it stays until it is let go.
    """

    entries: int
    size: int
    pinned: bool


@dataclass(frozen=True)
class ListedBank:
    """A bank in a folder of banks.

    Attributes:
        name: of its folder.
        info: its summary; None for one that cannot be read.
        problem: why it cannot be read, a sentence; "" if it can.
    """

    name: str
    info: BankInfo | None
    problem: str = ""


def bank_info(database: BankDatabase) -> BankInfo:
    """Summary of a bank.

    Raises:
        BankError: it cannot be read.
    """
    with database.reading() as transaction:
        newest, oldest = transaction.newest()[0], transaction.oldest()
        revisions = tuple(transaction.pinned_revisions())
        contents, stored = transaction.entries_at(newest), transaction.all_entries()
    entries = list(contents.entries.values())
    names = Counter(name for parts in contents.parts.values() for name in parts)
    folder = database.path.parent
    return BankInfo(
        name=folder.name,
        revision=newest,
        oldest_revision=oldest,
        pinned_revisions=revisions,
        entries=len(entries),
        latent_format=entries[0].latent_format if entries else None,
        shapes=Counter(entry.shape for entry in entries),
        spaces={name[len(FEATURES) :]: count for name, count in names.items() if name.startswith(FEATURES)},
        thumbnails=names[THUMBNAILS],
        pinned=sum(entry.pinned for entry in entries),
        live_bytes=_bytes_of(contents.parts.values()),
        history_bytes=_bytes_of(parts for place, parts in stored.parts.items() if place not in contents.parts),
        disk_bytes=bank_bytes(folder),
    )


def revision_needs(database: BankDatabase, revision: int) -> RevisionNeeds:
    """What a revision needs that the newest does not.

    Raises:
        RevisionError: the revision does not exist yet, was vacuumed, or lost entries to damage.
    """
    with database.reading() as transaction:
        contents, living = transaction.entries_at(revision), set(transaction.living().values())
        pinned = revision in transaction.pinned_revisions()
    gone = [parts for position, parts in contents.parts.items() if position not in living]
    return RevisionNeeds(len(gone), _bytes_of(gone), pinned)


def list_banks(root: Path) -> tuple[ListedBank, ...]:
    """The banks in a folder by name, damaged ones too."""
    found = []
    for name in bank_names(Path(root)):
        try:
            folder = Path(root).absolute() / validate_name(name, "bank")
            found.append(ListedBank(name, bank_info(BankDatabase(folder / DATABASE, folder / SHARDS))))
        except ValueError as error:
            found.append(ListedBank(name, None, str(error)))
    return tuple(found)


def _bytes_of(stored: Iterable[Mapping[str, StoredRow]]) -> int:
    return sum(part_bytes(row) for parts in stored for row in parts.values())
