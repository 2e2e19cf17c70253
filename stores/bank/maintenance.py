"""Care of a Memory Bank: find damage, drop what is damaged, free what no revision needs any more."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..files import UNFINISHED_SUFFIX
from .database import BankDatabase
from .errors import BankDamagedError
from .shards import SUFFIX, Shard, read_shard
from .snapshot import now


@dataclass(frozen=True)
class Damage:
    """A damaged shard.

    Attributes:
        shard: the file.
        reason: what is wrong with it and what to do.
    """

    shard: Shard
    reason: str


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
    """Read every shard, those of evicted entries too, and check size and hash.

    Raises:
        BankError: the database itself cannot be read.
    """
    with database.reading() as transaction:
        shards = transaction.shards()
    damages = []
    for shard in shards:
        try:
            read_shard(shard)
        except BankDamagedError as error:
            damages.append(Damage(shard, str(error)))
    return tuple(damages)


def drop_damage(database: BankDatabase) -> RepairResult:
    """Take every damaged shard, and the entries whose latents it held, out of the bank, as a new revision.

    Raises:
        BankWriteError: the database could not be changed.
    """
    damages = find_damage(database)
    if not damages:
        with database.reading() as transaction:
            return RepairResult((), 0, transaction.newest()[0])
    with database.writing() as transaction:
        revision = transaction.newest()[0] + 1
        digests = [damage.shard.digest for damage in damages]
        dropped = [identity for digest in digests for identity in transaction.drop_damaged(digest, revision)]
        transaction.publish(revision, now(), ["repair", digests])
    sweep(database, [damage.shard.path for damage in damages])
    return RepairResult(tuple(dropped), len(damages), revision)


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
    files, freed = sweep(
        database, [path for path in database.shard_folder.glob("*") if path.suffix in (SUFFIX, UNFINISHED_SUFFIX)]
    )
    return VacuumResult(entries, files, freed, oldest)


def sweep(database: BankDatabase, candidates: list[Path]) -> tuple[int, int]:
    """Delete those of the files that the database does not refer to, and return how many and their bytes.

    It holds the database's lock meanwhile, so that no other process is just about to publish one of them.

    Raises:
        BankWriteError: the database could not be locked or a file not be deleted.
    """
    files = freed = 0
    with database.writing() as transaction:
        used = {shard.path for shard in transaction.shards()}
        for path in candidates:
            if path not in used and path.is_file():
                size = path.stat().st_size
                path.unlink(missing_ok=True)
                files, freed = files + 1, freed + size
    return files, freed
