"""Questions to, and changes of, a Memory Bank's database within one transaction.

An entry lives in the revisions ``added <= r < removed``. What changes the bank adds one revision, whose digest chains
the change to everything before it. Revisions older than the first row of ``revisions`` were vacuumed away.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from .entries import LATENTS, BankEntry, NewEntry
from .errors import RevisionError
from .shards import DTYPES, Shard, StoredRow
from .snapshot import Parts, described

DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
ALIVE = "entries.added <= :revision AND (entries.removed IS NULL OR entries.removed > :revision)"


class BankTransaction:
    """One look at, or one change of, the database."""

    def __init__(self, connection: sqlite3.Connection, shard_folder: Path) -> None:
        self.connection = connection
        self.shard_folder = shard_folder

    def newest(self) -> tuple[int, str]:
        """The bank's revision and its digest."""
        return self._one("SELECT revision, digest FROM revisions ORDER BY revision DESC LIMIT 1")

    def oldest(self) -> int:
        """The oldest revision that was not vacuumed."""
        return self._one("SELECT MIN(revision) FROM revisions")[0]

    def living(self) -> dict[str, int]:
        """Positions of the entries of the newest revision by id, oldest first."""
        query = "SELECT id, position FROM entries WHERE removed IS NULL ORDER BY position"
        return dict(self.connection.execute(query))

    def latent_format(self) -> str | None:
        """The format of the entries of the newest revision, None where there are none."""
        row = self.connection.execute("SELECT latent_format FROM entries WHERE removed IS NULL LIMIT 1").fetchone()
        return row[0] if row else None

    def part_shape(self, name: str) -> tuple[int, ...] | None:
        """Shape of the parts of this name in the newest revision, judged by one of them; None where there are none."""
        query = (
            "SELECT parts.shape FROM parts JOIN entries USING (position) "
            "WHERE parts.name = ? AND entries.removed IS NULL LIMIT 1"
        )
        row = self.connection.execute(query, (name,)).fetchone()
        return _shape(row[0]) if row else None

    def part_names(self, position: int) -> set[str]:
        """Names of the parts of one entry."""
        return {name for (name,) in self.connection.execute("SELECT name FROM parts WHERE position = ?", (position,))}

    def entries_at(self, revision: int) -> tuple[list[BankEntry], list[Parts]]:
        """Entries of a revision in their order, and where the parts of each lie; revision 0 is empty for ever.

        Raises:
            RevisionError: the revision is not there yet, was vacuumed, or lost entries to damage.
        """
        newest, oldest = self.newest()[0], self.oldest()
        if revision > newest or revision < 0:
            raise RevisionError(
                f"Revision {revision} was asked for, but the bank is at revision {newest}. Ask for one from "
                f"{oldest} to {newest}."
            )
        if 0 < revision < oldest:
            raise RevisionError(
                f"Revision {revision} was vacuumed away; the oldest that is left is {oldest}. Ask for one from "
                f"{oldest} to {newest}, or restore a backup of the bank."
            )
        at = {"revision": revision}
        lost = self._one(f"SELECT COUNT(*) FROM entries WHERE lost AND {ALIVE}", at)[0]
        if lost:
            raise RevisionError(
                f"Revision {revision} cannot be reproduced: {lost} of its entries were damaged and dropped by "
                "repair(). Ask for a newer revision, or restore a backup of the bank."
            )
        columns = "position, id, latent_format, shape, prompt, seed, created, added"
        entries = {
            position: BankEntry(
                identity, latent_format, _shape(shape), prompt, None if seed is None else int(seed), created, added
            )
            for position, identity, latent_format, shape, prompt, seed, created, added in self.connection.execute(
                f"SELECT {columns} FROM entries WHERE {ALIVE} ORDER BY position", at
            )
        }
        parts: dict[int, dict[str, StoredRow]] = {position: {} for position in entries}
        shards = {shard.digest: shard for shard in self.shards()}
        query = (
            "SELECT parts.position, name, shard, row, parts.shape, dtype FROM parts JOIN entries USING (position) "
            f"WHERE parts.added <= :revision AND {ALIVE}"
        )
        for position, name, shard, row, shape, dtype in self.connection.execute(query, at):
            parts[position][name] = StoredRow(shards[shard], name, row, _shape(shape), DTYPES[dtype])
        return list(entries.values()), list(parts.values())

    def shards(self) -> list[Shard]:
        """All shards that any entry refers to."""
        rows = self.connection.execute("SELECT digest, size FROM shards ORDER BY digest")
        return [Shard(self.shard_folder, digest, size) for digest, size in rows]

    def add_entry(self, new: NewEntry, created: str, revision: int) -> int:
        """Add an entry, without its parts, and return its position."""
        entry = described(new, created, revision)
        # Seeds reach 2^64 - 1, integers of SQLite only 2^63 - 1: seeds are kept as text.
        seed = None if entry.seed is None else str(entry.seed)
        cursor = self.connection.execute(
            "INSERT INTO entries (id, latent_format, shape, prompt, seed, created, added) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (entry.id, entry.latent_format, _text(entry.shape), entry.prompt, seed, created, revision),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def add_part(self, position: int, row: StoredRow, revision: int) -> None:
        """Add a part to an entry: the row ``row.row`` of the tensor that bears the part's name."""
        shard = row.shard
        self.connection.execute("INSERT OR IGNORE INTO shards VALUES (?, ?)", (shard.digest, shard.size))
        self.connection.execute(
            "INSERT INTO parts VALUES (?, ?, ?, ?, ?, ?, ?)",
            (position, row.tensor, shard.digest, row.row, _text(row.shape), DTYPE_NAMES[row.dtype], revision),
        )

    def remove(self, positions: Sequence[int], revision: int) -> None:
        """End the lives of entries at a revision; older revisions keep them."""
        update = "UPDATE entries SET removed = ? WHERE position = ?"
        self.connection.executemany(update, [(revision, position) for position in positions])

    def publish(self, revision: int, created: str, change: object) -> None:
        """Add a revision whose digest covers ``change`` (plain JSON values) and everything before it."""
        before = self.newest()[1]
        digest = hashlib.sha256((before + json.dumps(change)).encode()).hexdigest()
        self.connection.execute("INSERT INTO revisions VALUES (?, ?, ?)", (revision, created, digest))

    def drop_damaged(self, digest: str, revision: int) -> list[str]:
        """Take a damaged shard out of the database and return the ids of the entries whose latents it held.

        Those entries end at ``revision`` and make the revisions in which they lived irreproducible; entries that
        only lost a thumbnail or features stay.
        """
        query = "SELECT position, id FROM entries JOIN parts USING (position) WHERE shard = ? AND name = ? AND NOT lost"
        held = self.connection.execute(query, (digest, LATENTS)).fetchall()
        update = "UPDATE entries SET lost = 1, removed = COALESCE(removed, ?) WHERE position = ?"
        self.connection.executemany(update, [(revision, position) for position, _ in held])
        self.connection.execute("DELETE FROM parts WHERE shard = ?", (digest,))
        self.connection.execute("DELETE FROM shards WHERE digest = ?", (digest,))
        return [identity for _, identity in held]

    def forget_before(self, revision: int) -> int:
        """Make ``revision`` the oldest that can be reproduced and return how many entries that forgets for good."""
        gone = self.connection.execute("DELETE FROM entries WHERE removed <= ?", (revision,)).rowcount
        self.connection.execute("DELETE FROM parts WHERE position NOT IN (SELECT position FROM entries)")
        self.connection.execute("DELETE FROM shards WHERE digest NOT IN (SELECT shard FROM parts)")
        self.connection.execute("DELETE FROM revisions WHERE revision < ?", (revision,))
        return gone

    def _one(self, query: str, values: dict[str, int] | None = None) -> tuple:
        return self.connection.execute(query, values or {}).fetchone()


def _shape(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def _text(shape: tuple[int, ...]) -> str:
    return ",".join(map(str, shape))
