"""Vectors of a Protected Index on disk: files of half-precision rows and nothing else, so that each byte is a row's.

Beside each lies a table with the rows' checksums and names. Both files are named by the hash of their bytes; a row's
own checksum (CRC-32, which no change of up to 32 bits in a row escapes) tells damage when only this row is read.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from ..files import digest_of, write_named
from .errors import damaged

Halves = NDArray[np.float16]

ROWS_SUFFIX, TABLE_SUFFIX = ".f16", ".safetensors"


@dataclass(frozen=True)
class IndexShard:
    """A file of rows and its table.

    Attributes:
        count: number of rows.
        rows: digest of the file of rows, its name.
        table: digest of the table, its name.
    """

    count: int
    rows: str
    table: str


@dataclass(frozen=True)
class Labels:
    """What is known of each row beside its vector.

    Attributes:
        names: what the row is called, such as a picture's file name.
        keys: what identifies its content, such as the hash of the picture's file; "" where it is not known.
    """

    names: tuple[str, ...]
    keys: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def pack(self) -> dict[str, NDArray[np.generic]]:
        """As tensors: all texts one after the other, and where each ends."""
        return {**_pack("names", self.names), **_pack("keys", self.keys)}

    @classmethod
    def unpack(cls, tensors: dict[str, NDArray[np.generic]]) -> Labels:
        """Inverse of ``pack``."""
        return cls(_unpack("names", tensors), _unpack("keys", tensors))

    @classmethod
    def concat(cls, parts: Sequence[Labels]) -> Labels:
        """One after the other."""
        return cls(tuple(n for part in parts for n in part.names), tuple(k for part in parts for k in part.keys))

    def take(self, places: Sequence[int] | range) -> Labels:
        """Those of some rows."""
        return Labels(tuple(self.names[place] for place in places), tuple(self.keys[place] for place in places))


def write_rows(folder: Path, rows: Halves, labels: Labels) -> IndexShard:
    """Write rows (n, D) and their table; the same content makes the same files.

    Raises:
        OSError: a file could not be written.
    """
    data = np.ascontiguousarray(rows, "<f2").view(np.uint8).data.cast("B")
    checks = np.array([zlib.crc32(row.tobytes()) for row in rows.astype("<f2", copy=False)], np.uint32)
    table = safetensors.numpy.save({"checks": checks, **labels.pack()})
    shard = IndexShard(len(rows), digest_of(data), digest_of(table))
    write_named(rows_path(folder, shard), shard.rows, data)
    write_named(table_path(folder, shard), shard.table, table)
    return shard


def rows_path(folder: Path, shard: IndexShard) -> Path:
    """The file of the rows."""
    return folder / (shard.rows + ROWS_SUFFIX)


def table_path(folder: Path, shard: IndexShard) -> Path:
    """The file of the table."""
    return folder / (shard.table + TABLE_SUFFIX)


def read_whole(path: Path, digest: str) -> bytes:
    """Read a file that is named by its content.

    Raises:
        IndexDamagedError: it is missing, unreadable or not what was written.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise damaged(path, f"cannot be read ({error.strerror})") from error
    if digest_of(data) != digest:
        raise damaged(path, "does not hold what was written")
    return data


def read_labels(folder: Path, shard: IndexShard) -> Labels:
    """Names and keys of a shard's rows.

    Raises:
        IndexDamagedError: the table is damaged.
    """
    return Labels.unpack(safetensors.numpy.load(read_whole(table_path(folder, shard), shard.table)))


class MappedRows:
    """All rows of an index, memory-mapped: only what is asked for is read, and checked.

    Args:
        folder: of the shards.
        shards: in their order; rows are numbered through them.
        width: values of a row.

    Raises:
        IndexDamagedError: a file is missing or has a wrong size, or a table is damaged.
    """

    def __init__(self, folder: Path, shards: Sequence[IndexShard], width: int) -> None:
        self._paths = [rows_path(folder, shard) for shard in shards]
        self.blocks = [_mapped(path, shard.count, width) for path, shard in zip(self._paths, shards, strict=True)]
        tables = [read_whole(table_path(folder, shard), shard.table) for shard in shards]
        self._checks = [safetensors.numpy.load(table)["checks"] for table in tables]
        self._starts = np.cumsum([0, *(shard.count for shard in shards)])
        self._width = width

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def nbytes(self) -> int:
        """Memory of the checksums; the rows themselves are the file cache's."""
        return sum(checks.nbytes for checks in self._checks)

    def read(self, numbers: NDArray[np.int64]) -> Halves:
        """Rows (K, D) of these numbers.

        Raises:
            IndexDamagedError: a row is not what was written.
        """
        rows = np.empty((len(numbers), self._width), np.float16)
        shards = np.searchsorted(self._starts, numbers, side="right") - 1
        places = numbers - self._starts[shards]
        for row, shard, place in zip(rows, shards.tolist(), places.tolist(), strict=True):
            self._read_into(row, shard, place)
        return rows

    def check_all(self) -> Iterator[str]:
        """Read all rows and tell of each damaged one, as a sentence."""
        row = np.empty(self._width, np.float16)
        for shard, block in enumerate(self.blocks):
            for place in range(len(block)):
                try:
                    self._read_into(row, shard, place)
                except ValueError as error:
                    yield str(error)

    def locate(self, number: int) -> tuple[int, int]:
        """Shard and place in it of a row."""
        shard = int(np.searchsorted(self._starts, number, side="right")) - 1
        return shard, number - int(self._starts[shard])

    def _read_into(self, row: Halves, shard: int, place: int) -> None:
        row[:] = self.blocks[shard][place]
        if zlib.crc32(row.data.cast("B")) != self._checks[shard][place]:
            raise damaged(self._paths[shard], f"does not hold what was written in row {place}")


def _mapped(path: Path, count: int, width: int) -> Halves:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise damaged(path, f"cannot be read ({error.strerror})") from error
    if size != count * width * 2:
        raise damaged(path, f"has {size} bytes instead of {count * width * 2}")
    # Copy-on-write: tensors over read-only memory are not allowed, and nobody writes to these.
    return np.asarray(np.memmap(path, "<f2", mode="c", shape=(count, width)))


def _pack(name: str, texts: Sequence[str]) -> dict[str, NDArray[np.generic]]:
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
    return {name: np.frombuffer(b"".join(encoded), np.uint8), f"{name}_ends": ends}


def _unpack(name: str, tensors: dict[str, NDArray[np.generic]]) -> tuple[str, ...]:
    data, ends = tensors[name].tobytes(), tensors[f"{name}_ends"].tolist()
    return tuple(
        data[start:end].decode("utf-8", "surrogatepass") for start, end in zip([0, *ends[:-1]], ends, strict=True)
    )
