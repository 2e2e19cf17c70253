"""The tables of a Memory Bank's database, and the way from those of an earlier version to these."""

from __future__ import annotations

import hashlib
import sqlite3

APPLICATION_ID = 0x44474D42  # "DGMB"
VERSION = 4
EMPTY_DIGEST = hashlib.sha256(b"").hexdigest()

TABLES_3 = (
    """CREATE TABLE revisions (
        revision INTEGER PRIMARY KEY, created TEXT, digest TEXT NOT NULL, undoes INTEGER,
        pinned INTEGER NOT NULL DEFAULT 0)""",
    "CREATE TABLE shards (digest TEXT PRIMARY KEY, size INTEGER NOT NULL)",
    """CREATE TABLE entries (
        number INTEGER PRIMARY KEY, position INTEGER NOT NULL, id TEXT NOT NULL, latent_format TEXT NOT NULL,
        shape TEXT NOT NULL, prompt TEXT, seed TEXT, created TEXT NOT NULL, added INTEGER NOT NULL, removed INTEGER,
        lost INTEGER NOT NULL DEFAULT 0, encoder TEXT NOT NULL DEFAULT '', pinned INTEGER NOT NULL DEFAULT 0)""",
    "CREATE UNIQUE INDEX living ON entries (id) WHERE removed IS NULL",
    "CREATE INDEX entries_by_position ON entries (position)",
    """CREATE TABLE parts (
        position INTEGER NOT NULL, name TEXT NOT NULL, shard TEXT NOT NULL, row INTEGER NOT NULL,
        shape TEXT NOT NULL, dtype TEXT NOT NULL, added INTEGER NOT NULL, PRIMARY KEY (position, name))""",
    "CREATE INDEX parts_by_shard ON parts (shard)",
)
"""An entry that was removed and brought back has a row for each time, with one position and set of parts."""

TABLES = (
    *TABLES_3,
    "CREATE TABLE state (stamp INTEGER NOT NULL)",
    "CREATE INDEX pins ON entries (position) WHERE pinned",
    "CREATE INDEX removals ON entries (removed) WHERE removed IS NOT NULL",
    "CREATE INDEX pinned_revisions ON revisions (revision) WHERE pinned",
)
"""Version 4. The stamp is a random number, which every change replaces."""

TABLES_2 = (
    "CREATE TABLE revisions (revision INTEGER PRIMARY KEY, created TEXT, digest TEXT NOT NULL)",
    TABLES_3[1],
    """CREATE TABLE entries (
        position INTEGER PRIMARY KEY, id TEXT NOT NULL, latent_format TEXT NOT NULL, shape TEXT NOT NULL,
        prompt TEXT, seed TEXT, created TEXT NOT NULL, added INTEGER NOT NULL, removed INTEGER,
        lost INTEGER NOT NULL DEFAULT 0, encoder TEXT NOT NULL DEFAULT '')""",
    TABLES_3[3],
    *TABLES_3[5:],
)

LAYOUTS = {VERSION: TABLES, 3: TABLES_3, 2: TABLES_2}
"""Of the versions that can be read."""

_COPIES = {
    "revisions": "revision, created, digest, NULL AS undoes, 0 AS pinned",
    "shards": "digest, size",
    "entries": (
        "position AS number, position, id, latent_format, shape, prompt, seed, created, added, removed, lost, encoder, "
        "0 AS pinned"
    ),
    "parts": "position, name, shard, row, shape, dtype, added",
}
"""Each table of version 3 as columns of version 2."""

NEW_STAMP = "abs(random() / 2)"


def create(connection: sqlite3.Connection) -> None:
    """Make the tables of an empty bank."""
    first = f"INSERT INTO revisions VALUES (0, NULL, '{EMPTY_DIGEST}', NULL, 0)"
    for statement in (*TABLES, first, f"INSERT INTO state VALUES ({NEW_STAMP})"):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def read_as_current(connection: sqlite3.Connection, version: int) -> None:
    """Let the connection read a database of an earlier version as one of this, without changing it."""
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("CREATE TEMP VIEW state AS SELECT NULL AS stamp")
    for table, columns in _COPIES.items() if version == 2 else ():
        connection.execute(f"CREATE TEMP VIEW {table} AS SELECT {columns} FROM main.{table}")


def upgrade(connection: sqlite3.Connection, version: int) -> None:
    """Change a database of an earlier version to this one, within the open transaction."""
    if version == 2:
        connection.execute("DROP INDEX living")
        connection.execute("DROP INDEX parts_by_shard")
        for table in _COPIES:
            connection.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
        for statement in TABLES_3:
            connection.execute(statement)
        for table, columns in _COPIES.items():
            connection.execute(f"INSERT INTO {table} SELECT {columns} FROM old_{table}")
            connection.execute(f"DROP TABLE old_{table}")
    for statement in (*TABLES[len(TABLES_3) :], f"INSERT INTO state VALUES ({NEW_STAMP})"):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {VERSION}")


def change_stamp(connection: sqlite3.Connection) -> None:
    """Give the database another stamp."""
    connection.execute(f"UPDATE state SET stamp = {NEW_STAMP}")
