"""Export a Memory Bank into one file, row by row: no more than a shard or two is in memory."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from math import prod
from pathlib import Path
from time import time
from typing import NamedTuple
from uuid import uuid4

from torch import Tensor

from ...files import UNFINISHED_SUFFIX, is_unfinished, sync_folder
from ..errors import BankWriteError, ShardMissingError, write_advice
from ..maintenance.directory import ABANDONED_SECONDS, require_room
from ..records import shape_text
from ..shards import Shard, StoredRow, damaged, read_shard, row_flaw
from ..snapshot import BankSnapshot
from ..transaction import DTYPE_NAMES
from .layout import CHECKSUM, DTYPES, ENTRIES, FORMAT, NO_CHECKSUM, VERSION, Block, checksum_place, header

TOLD_EVERY = 50


class ExportResult(NamedTuple):
    """What an export wrote.

    Attributes:
        entries: number of images.
        size: of the file, in bytes.
    """

    entries: int
    size: int


def export_bank(
    snapshot: BankSnapshot, path: Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> ExportResult:
    """Write a bank into one file, atomically; an existing file of that name is replaced.

    Args:
        snapshot: the bank at a revision; the export holds this revision alone.
        path: of the file.
        progress: told (images written, images in all); an image counts for each of its parts.

    Raises:
        BankDamagedError: a file of the bank is damaged: repair it first.
        BankWriteError: the file could not be written; nothing of it is left.
    """
    rows = _rows_by_block(snapshot)
    table = json.dumps(_table(snapshot, rows), ensure_ascii=False).encode()
    blocks = [*rows, Block(ENTRIES, "U8", (len(table),), len(table))]
    head = header(blocks, _metadata(snapshot))
    size = len(head) + sum(block.size for block in blocks)
    unfinished = path.with_name(f"{path.stem}.{uuid4().hex}{UNFINISHED_SUFFIX}")
    try:
        _remove_abandoned(path)
        require_room(path.parent, size)
        with unfinished.open("x+b") as file:
            digest = hashlib.sha256()
            for piece in (head, *_data(snapshot, rows, progress), table):
                file.write(piece)
                digest.update(piece)
            file.seek(checksum_place(head, NO_CHECKSUM))
            file.write(digest.hexdigest().encode())
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise BankWriteError(
            f"The export {path} could not be written ({error}). {write_advice(error)} Nothing of it is left."
        ) from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return ExportResult(len(snapshot), size)


def _rows_by_block(snapshot: BankSnapshot) -> dict[Block, list[int]]:
    """The blocks of the file, and the places of the entries whose parts they hold, in order."""
    groups: dict[tuple[str, str, tuple[int, ...]], list[int]] = {}
    for place, parts in enumerate(snapshot.parts):
        for name, source in parts.items():
            kind = name, DTYPES[DTYPE_NAMES[source.dtype]], tuple(source.shape)
            groups.setdefault(kind, []).append(place)
    numbered = {kind: f"{kind[0]}:{number}" for number, kind in enumerate(groups)}
    itemsize = {"F32": 4, "F16": 2, "U8": 1}
    # The widest first, so that every value lies at a multiple of its size.
    ordered = sorted(groups, key=lambda kind: -itemsize[kind[1]])
    return {
        Block(
            numbered[kind],
            kind[1],
            (len(groups[kind]), *kind[2]),
            len(groups[kind]) * prod(kind[2]) * itemsize[kind[1]],
        ): groups[kind]
        for kind in ordered
    }


def _table(snapshot: BankSnapshot, rows: dict[Block, list[int]]) -> dict[str, object]:
    """The images, and for each the rows of its parts by name."""
    parts: list[dict[str, tuple[str, int]]] = [{} for _ in snapshot.entries]
    for block, places in rows.items():
        part = block.name.rpartition(":")[0]
        for row, place in enumerate(places):
            parts[place][part] = (block.name, row)
    prompts: dict[str, int] = {}
    images = []
    for entry, found in zip(snapshot.entries, parts, strict=True):
        images.append(
            {
                "id": entry.id,
                "shape": shape_text(entry.shape),
                "prompt": None if entry.prompt is None else prompts.setdefault(entry.prompt, len(prompts)),
                "seed": None if entry.seed is None else str(entry.seed),
                "created": entry.created,
                "encoder": entry.encoder,
                "pinned": entry.pinned,
                "parts": found,
            }
        )
    return {"images": images, "prompts": list(prompts)}


def _metadata(snapshot: BankSnapshot) -> dict[str, str]:
    return {
        "format": FORMAT,
        "version": str(VERSION),
        CHECKSUM: NO_CHECKSUM,
        "name": snapshot.name,
        "revision": str(snapshot.revision),
        "digest": snapshot.digest,
        "images": str(len(snapshot)),
        "latent_format": snapshot.latent_format or "",
        "encoder": snapshot.encoder,
    }


def _data(
    snapshot: BankSnapshot, rows: dict[Block, list[int]], progress: Callable[[int, int], None]
) -> Iterator[bytes]:
    done, total = 0, sum(len(places) for places in rows.values())
    reader = _Reader(snapshot)
    for block, places in rows.items():
        part = block.name.rpartition(":")[0]
        for place in places:
            values = reader.row(place, part).detach().cpu().contiguous().numpy()
            yield values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
            done += 1
            if done % TOLD_EVERY == 0 or done == total:
                progress(done, total)


class _Reader:
    """Reads a snapshot's parts one by one, with the last shard at hand."""

    def __init__(self, snapshot: BankSnapshot) -> None:
        self._snapshot = snapshot
        self._parts = [dict(parts) for parts in snapshot.parts]
        self._shard: Shard | None = None
        self._tensors: dict[str, Tensor] = {}

    def row(self, place: int, part: str) -> Tensor:
        """A part of the entry at a place."""
        source = self._parts[place][part]
        if isinstance(source, Tensor):
            return source
        try:
            return self._read(source)
        except ShardMissingError:
            # Another process may have merged it into another.
            self._locate(part)
            moved = self._parts[place][part]
            if moved == source or isinstance(moved, Tensor):
                raise
            return self._read(moved)

    def _read(self, row: StoredRow) -> Tensor:
        if self._shard != row.shard:
            self._tensors = read_shard(row.shard)
            self._shard = row.shard
        if flaw := row_flaw(self._tensors, row):
            raise damaged(row.shard, f"cannot be exported: {flaw}")
        return self._tensors[row.tensor][row.row]

    def _locate(self, part: str) -> None:
        if self._snapshot.database is not None:
            found = self._snapshot.database.locate((entry.id for entry in self._snapshot.entries), part)
            for entry, parts in zip(self._snapshot.entries, self._parts, strict=True):
                if entry.id in found and part in parts:
                    parts[part] = found[entry.id]


def _remove_abandoned(path: Path) -> None:
    """Delete what killed exports of this name left."""
    for left in path.parent.glob(f"*{UNFINISHED_SUFFIX}"):
        with suppress(OSError):
            stem = left.name.rsplit(".", 2)[0]
            if stem == path.stem and is_unfinished(left.name) and time() - left.stat().st_mtime > ABANDONED_SECONDS:
                left.unlink()
