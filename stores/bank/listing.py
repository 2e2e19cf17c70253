"""What revisions of a Memory Bank hold, read from its database row by row; nothing in it is trusted."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import NamedTuple

from .entries import LATENTS, BankEntry
from .records import Flaw, FlawError, part_bytes, part_flaw, read_entry, read_part
from .shards import Shard, StoredRow

ALIVE = "entries.added <= :revision AND (entries.removed IS NULL OR entries.removed > :revision)"
"""Entries of a revision."""


class Listing(NamedTuple):
    """Entries in order, and where their parts are stored.

    Attributes:
        entries: by position.
        parts: by position, then by name.
        flaws: of the entries and parts that are left out.
        claimed: bytes of the parts in each shard.
    """

    entries: dict[int, BankEntry]
    parts: dict[int, dict[str, StoredRow]]
    flaws: tuple[Flaw, ...]
    claimed: dict[Shard, int]


def read_all(connection: sqlite3.Connection, shards: Mapping[str, Shard]) -> Listing:
    """The entries of all revisions; ``shards`` are the bank's own, by digest."""
    return _read(connection, shards, "NOT lost", {}, "+position")


def read_revision(connection: sqlite3.Connection, shards: Mapping[str, Shard], revision: int) -> Listing:
    """The entries of a revision."""
    return _read(connection, shards, ALIVE, {"revision": revision}, "+position")


def read_positions(
    connection: sqlite3.Connection, shards: Mapping[str, Shard], revision: int, positions: set[int]
) -> Listing:
    """Of the entries of a revision, those at these positions."""
    condition = f"{ALIVE} AND position IN ({', '.join(map(str, sorted(positions)))})"
    return _read(connection, shards, condition, {"revision": revision}, "position")


def _read(
    connection: sqlite3.Connection, shards: Mapping[str, Shard], condition: str, values: dict[str, int], key: str
) -> Listing:
    entries: dict[int, BankEntry] = {}
    parts: dict[int, dict[str, StoredRow]] = {}
    flaws: list[Flaw] = []
    columns = "position, id, latent_format, shape, prompt, seed, created, added, encoder, pinned"
    for position, *row in connection.execute(
        f"SELECT {columns} FROM entries WHERE {condition} GROUP BY position ORDER BY position", values
    ):
        try:
            entries[position] = read_entry(position, row)
            parts[position] = {}
        except FlawError as error:
            flaws.append(Flaw(position, LATENTS, f"Entry {position}: {error}."))
    claimed: dict[Shard, int] = {}
    owners: dict[object, str] = {}
    # In the order in which they were stored, by a unary plus: what claims more than its file holds came last.
    query = (
        "SELECT position, name, shard, row, shape, dtype FROM parts "
        f"WHERE {key} IN (SELECT position FROM entries WHERE {condition})"
        + (" AND added <= :revision" if values else "")
    )
    for position, name, digest, row, shape, dtype in connection.execute(query, values):
        if position not in entries:
            continue
        try:
            stored = read_part(name, row, shape, dtype, shards.get(digest))
            # An image that was removed and saved again, in an equal batch, lies where it lay.
            owner, owners[digest, name, row] = owners.get((digest, name, row)), entries[position].id
            taken = claimed.get(stored.shard, 0)
            if values or owner != entries[position].id:
                claimed[stored.shard] = taken = taken + part_bytes(stored)
            if taken > stored.shard.size:
                raise FlawError(f"its {name} overlap those of others in the file")
            parts[position][name] = stored
        except FlawError as error:
            flaws.append(Flaw(position, name, f"Entry {_short(entries[position])}: {error}."))
    for position in list(entries):
        if what := part_flaw(entries[position], parts[position]):
            flaws.append(Flaw(position, LATENTS, f"Entry {_short(entries[position])}: {what}."))
            del entries[position], parts[position]
    return Listing(entries, parts, tuple(flaws), claimed)


def _short(entry: BankEntry) -> str:
    return entry.id[:12]
