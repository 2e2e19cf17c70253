"""Queries and changes of a Memory Bank's database within one transaction.

An entry is part of the revisions ``added <= r < removed``; one that was removed and brought back has several such rows,
with one position and so one set of parts. Every change of the bank adds one revision, whose digest chains the change to
everything before it. Revisions that have no row in ``revisions`` were vacuumed.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Container, Iterable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from ..files import MAX_WHOLE_BYTES, is_digest
from .entries import LATENTS, NewEntry
from .errors import BankDamagedError, RevisionError
from .listing import ALIVE, Listing, read_all, read_positions, read_revision
from .records import FlawError, read_shape, shape_text
from .shards import DTYPES, Shard, StoredRow

DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
PINNED = (
    "EXISTS (SELECT 1 FROM revisions AS r WHERE r.pinned AND r.revision >= entries.added "
    "AND (entries.removed IS NULL OR r.revision < entries.removed))"
)
"""Entries that a pinned revision needs."""


class BankTransaction:
    """One consistent view, or one change, of the database.

    Attributes:
        touched: positions at which it changed what the newest revision holds; None for anywhere.
    """

    def __init__(self, connection: sqlite3.Connection, shard_folder: Path) -> None:
        self.connection = connection
        self.shard_folder = shard_folder
        self.touched: set[int] | None = set()

    def stamp(self) -> int | None:
        """A number that every change of the database changes; None before an earlier version is upgraded."""
        found = self._one("SELECT stamp FROM state")
        return found[0] if found and isinstance(found[0], int) else None

    def newest(self) -> tuple[int, str]:
        """The newest revision and its digest."""
        row = self._one("SELECT revision, digest FROM revisions ORDER BY revision DESC LIMIT 1")
        if row is None or not isinstance(row[0], int) or not isinstance(row[1], str):
            raise BankDamagedError(
                f"The database of the bank in {self.shard_folder.parent} names no revision. Restore it from a backup, "
                "or move the folder away to begin a new bank under this name."
            )
        return row

    def oldest(self) -> int:
        """The oldest revision from which on all can be reproduced; of the pinned ones, earlier ones can too."""
        found = self._one("SELECT MIN(revision) FROM revisions WHERE NOT pinned")[0]
        return self.newest()[0] if found is None else found

    def pinned_revisions(self) -> list[int]:
        """Revisions that stay until they are let go."""
        query = "SELECT revision FROM revisions WHERE pinned ORDER BY revision"
        return [revision for (revision,) in self.connection.execute(query)]

    def pin_revision(self, revision: int, pinned: bool) -> None:
        """Pin a revision, so that eviction and vacuum leave what it needs, or let it go again.

        Raises:
            RevisionError: as ``entries_at``.
        """
        self._require(revision)
        self.connection.execute("UPDATE revisions SET pinned = ? WHERE revision = ?", (int(pinned), revision))

    def living(self) -> dict[str, int]:
        """Positions of the newest revision's entries by id, oldest first."""
        query = "SELECT id, position FROM entries WHERE removed IS NULL ORDER BY position"
        return dict(self.connection.execute(query))

    def living_among(self, ids: Iterable[str]) -> dict[str, int]:
        """Positions of those of the newest revision's entries that have one of these ids, by id."""
        query = "SELECT position FROM entries WHERE id = ? AND removed IS NULL"
        found = ((identity, self._one(query, (identity,))) for identity in ids)
        return {identity: row[0] for identity, row in found if row is not None}

    def count_living(self, *, pinned: bool = False) -> int:
        """Number of the newest revision's entries, or of the pinned ones among them."""
        # The unary plus leaves the index of the few pinned ones as the one to use.
        condition = "pinned AND +removed IS NULL" if pinned else "removed IS NULL"
        return self._one(f"SELECT COUNT(*) FROM entries WHERE {condition}")[0]

    def oldest_evictable(self, count: int, kept: Container[str]) -> dict[str, int]:
        """Positions by id of so many of the oldest entries that are not pinned, leaving out those to be kept."""
        query = "SELECT id, position FROM entries WHERE removed IS NULL AND NOT pinned ORDER BY position"
        return dict(islice((row for row in self.connection.execute(query) if row[0] not in kept), count))

    def latent_format(self) -> str | None:
        """The latent format of the newest revision; None for an empty bank."""
        row = self.connection.execute("SELECT latent_format FROM entries WHERE removed IS NULL LIMIT 1").fetchone()
        return row[0] if row else None

    def encoder(self) -> str:
        """Fingerprint of the newest revision's VAE; "" where unknown."""
        query = "SELECT encoder FROM entries WHERE removed IS NULL AND encoder != '' LIMIT 1"
        row = self.connection.execute(query).fetchone()
        return str(row[0]) if row else ""

    def part_shape(self, name: str) -> tuple[int, ...] | None:
        """Shape of the newest revision's parts of this name, by one of them; None if there are none."""
        query = (
            "SELECT parts.shape FROM parts JOIN entries USING (position) "
            "WHERE parts.name = ? AND entries.removed IS NULL"
        )
        for (text,) in self.connection.execute(query, (name,)):
            with suppress(FlawError):
                return read_shape(text)
        return None

    def part_names(self, position: int) -> set[str]:
        """Names of the parts of one entry."""
        return {name for (name,) in self.connection.execute("SELECT name FROM parts WHERE position = ?", (position,))}

    def entries_at(self, revision: int) -> Listing:
        """The entries of a revision; revision 0 is always empty.

        Raises:
            RevisionError: the revision does not exist yet, was vacuumed, or lost entries to damage.
        """
        self._require(revision)
        return read_revision(self.connection, self.shards(), revision)

    def newest_among(self, positions: set[int]) -> Listing:
        """Of the entries of the newest revision, those at these positions."""
        return read_positions(self.connection, self.shards(positions), self.newest()[0], positions)

    def _require(self, revision: int) -> None:
        """Raise a RevisionError if the revision cannot be reproduced."""
        newest, oldest = self.newest()[0], self.oldest()
        if revision > newest or revision < 0:
            raise RevisionError(
                f"Revision {revision} was asked for, but the bank is at revision {newest}. Ask for one from "
                f"{oldest} to {newest}."
            )
        if 0 < revision < oldest and revision not in (pinned := self.pinned_revisions()):
            further = f" Pinned are also {', '.join(map(str, pinned))}." if pinned else ""
            raise RevisionError(
                f"Revision {revision} was vacuumed away or evicted; the oldest that is left is {oldest}.{further} Ask "
                f"for one from {oldest} to {newest}, or restore a backup of the bank."
            )
        lost = self._one(f"SELECT COUNT(*) FROM entries WHERE lost AND {ALIVE}", {"revision": revision})[0]
        if lost:
            raise RevisionError(
                f"Revision {revision} cannot be reproduced: {lost} of its entries were damaged and dropped by "
                "a repair. Ask for a newer revision, or restore a backup of the bank."
            )

    def all_entries(self) -> Listing:
        """The entries of all revisions."""
        return read_all(self.connection, self.shards())

    def shards(self, positions: Iterable[int] | None = None) -> dict[str, Shard]:
        """The shards of the entries at these positions, or of all, by digest; invalid ones are left out."""
        query = "SELECT digest, size FROM shards"
        if positions is not None:
            query += f" WHERE digest IN (SELECT shard FROM parts WHERE position IN ({', '.join(map(str, positions))}))"
        rows = self.connection.execute(query + " ORDER BY digest")
        return {
            digest: Shard(self.shard_folder, digest, size)
            for digest, size in rows
            if is_digest(digest) and isinstance(size, int) and 0 < size <= MAX_WHOLE_BYTES
        }

    def add_entry(self, new: NewEntry, created: str, revision: int) -> int:
        """Add an entry, without its parts, and return its position."""
        # Seeds reach 2^64 - 1, SQLite's integers 2^63 - 1: seeds are stored as text.
        seed = None if new.seed is None else str(new.seed)
        shape = shape_text(new.shape)
        position = self._one("SELECT COALESCE(MAX(position), 0) + 1 FROM entries WHERE typeof(position) = 'integer'")[0]
        self._touch([position])
        self.connection.execute(
            "INSERT INTO entries (position, id, latent_format, shape, prompt, seed, created, added, encoder, pinned) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(position, new.id, new.latent_format, shape, new.prompt, seed, new.created or created, revision),
                *(new.encoder, int(new.pinned)),
            ),
        )
        return position

    def add_part(self, position: int, row: StoredRow, revision: int) -> None:
        """Add a part to an entry."""
        self._touch([position])
        shard = row.shard
        self.connection.execute("INSERT OR IGNORE INTO shards VALUES (?, ?)", (shard.digest, shard.size))
        self.connection.execute(
            "INSERT INTO parts VALUES (?, ?, ?, ?, ?, ?, ?)",
            (position, row.tensor, shard.digest, row.row, shape_text(row.shape), DTYPE_NAMES[row.dtype], revision),
        )

    def remove(self, positions: Sequence[int], revision: int) -> None:
        """Remove entries from this revision on; older revisions keep them."""
        self._touch(positions)
        update = "UPDATE entries SET removed = ? WHERE position = ? AND removed IS NULL"
        self.connection.executemany(update, [(revision, position) for position in positions])

    def bring_back(self, positions: Sequence[int], revision: int) -> None:
        """Add entries that were removed again from this revision on, each with what it was and where it stood."""
        self._touch(positions)
        kept = "position, id, latent_format, shape, prompt, seed, created, encoder, pinned"
        self.connection.executemany(
            f"INSERT INTO entries ({kept}, added) SELECT {kept}, ? FROM entries WHERE position = ? "
            "ORDER BY number DESC LIMIT 1",
            [(revision, position) for position in positions],
        )

    def pin(self, positions: Sequence[int], pinned: bool) -> None:
        """Pin entries of the newest revision, or let them go again."""
        self._touch(positions)
        update = "UPDATE entries SET pinned = ? WHERE position = ? AND removed IS NULL"
        self.connection.executemany(update, [(int(pinned), position) for position in positions])

    def pinned_among(self, ids: Iterable[str]) -> set[str]:
        """Those of the ids whose entries are pinned in the newest revision."""
        query = "SELECT pinned FROM entries WHERE id = ? AND removed IS NULL"
        return {identity for identity in ids if (self._one(query, (identity,)) or (0,))[0]}

    def positions_at(self, revision: int) -> set[int]:
        """Positions of a revision's entries; revision 0 is always empty.

        Raises:
            RevisionError: as ``entries_at``.
        """
        self._require(revision)
        query = f"SELECT position FROM entries WHERE {ALIVE}"
        return {position for (position,) in self.connection.execute(query, {"revision": revision})}

    def drop_parts_since(self, revision: int, positions: Iterable[int]) -> None:
        """Drop the parts that entries gained at a revision or later, in earlier revisions too."""
        self.touched = None
        delete = "DELETE FROM parts WHERE position = ? AND added >= ?"
        self.connection.executemany(delete, [(position, revision) for position in positions])
        self.drop_unused_shards()

    def undone_by(self, revision: int) -> int | None:
        """The revision whose change this one takes back; None if it takes back none."""
        row = self._one("SELECT undoes FROM revisions WHERE revision = ?", (revision,))
        return row[0] if row and isinstance(row[0], int) else None

    def publish(self, revision: int, created: str, change: object, undoes: int | None = None) -> None:
        """Add a revision, whose digest covers ``change`` (plain JSON values) and everything before it."""
        before = self.newest()[1]
        digest = hashlib.sha256((before + json.dumps(change)).encode()).hexdigest()
        columns = "revision, created, digest, undoes"
        values = (revision, created, digest, undoes)
        self.connection.execute(f"INSERT INTO revisions ({columns}) VALUES (?, ?, ?, ?)", values)

    def drop_parts(self, parts: Iterable[tuple[int, object]], revision: int) -> list[str]:
        """Drop parts, by position and name, and return the ids of the entries that this removes.

        An entry without latents is removed at ``revision``, and the earlier revisions that hold it can no longer be
        reproduced. An entry that only loses a thumbnail or features stays.
        """
        self.touched = None
        # A damaged row is not found through an index that still has what it was.
        self.connection.execute("REINDEX")
        ended: dict[int, str] = {}
        for position, name in parts:
            self.connection.execute("DELETE FROM parts WHERE position = ? AND name = ?", (position, name))
            if name == LATENTS:
                row = self._one("SELECT id FROM entries WHERE position = ? AND NOT lost", (position,))
                ended.update({position: str(row[0])} if row else {})
                self.connection.execute("DELETE FROM parts WHERE position = ?", (position,))
        update = "UPDATE entries SET lost = 1, removed = COALESCE(removed, ?) WHERE position = ?"
        self.connection.executemany(update, [(revision, position) for position in ended])
        self.drop_unused_shards()
        return list(ended.values())

    def move_part(self, position: int, row: StoredRow) -> None:
        """Record a new location of a part, with the same content."""
        self._touch([position])
        self.connection.execute("INSERT OR IGNORE INTO shards VALUES (?, ?)", (row.shard.digest, row.shard.size))
        self.connection.execute(
            "UPDATE parts SET shard = ?, row = ? WHERE position = ? AND name = ?",
            (row.shard.digest, row.row, position, row.tensor),
        )

    def drop_unused_shards(self) -> None:
        """Drop shards that hold no part."""
        self.connection.execute("DELETE FROM shards WHERE digest NOT IN (SELECT shard FROM parts)")

    def forget_before(self, revision: int) -> int:
        """Delete what only unpinned revisions before this one need, and return how many entries."""
        gone = self.connection.execute(f"DELETE FROM entries WHERE removed <= ? AND NOT {PINNED}", (revision,)).rowcount
        self.connection.execute("DELETE FROM parts WHERE position NOT IN (SELECT position FROM entries)")
        self.drop_unused_shards()
        self.connection.execute("DELETE FROM revisions WHERE revision < ? AND NOT pinned", (revision,))
        return gone

    def _touch(self, positions: Iterable[int]) -> None:
        if self.touched is not None:
            self.touched.update(positions)

    def _one(self, query: str, values: dict[str, int] | Sequence[int | str] | None = None) -> Any:
        return self.connection.execute(query, values or ()).fetchone()
