"""Vectors of a Protected Index on disk: files that hold float16 rows and nothing else.

Each has a table with the rows' checksums and names. Both files are named by their digests. A row has its own checksum
(CRC-32, which detects every change within 32 bits), so that damage is found when only this row is read.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from ..files import MAX_WHOLE_BYTES, digest_of, digest_of_own, own_size, read_own, write_named
from .errors import damaged

Float16Array = NDArray[np.float16]

ROWS_SUFFIX, TABLE_SUFFIX = ".f16", ".safetensors"
MAX_LABEL_BYTES = 2**14
"""Limit of a name and a key together: a file's name and a hash."""

HEADER_BYTES = 2**16


@dataclass(frozen=True)
class IndexShard:
    """A file of rows and its table.

    Attributes:
        count: number of rows.
        rows: digest of the file of rows.
        table: digest of the table.
    """

    count: int
    rows: str
    table: str


@dataclass(frozen=True)
class Labels:
    """Names and keys of rows.

    Attributes:
        names: such as an image's file name.
        keys: identify the content, such as the hash of an image's file; "" where unknown.
    """

    names: tuple[str, ...]
    keys: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def pack(self) -> dict[str, NDArray[np.generic]]:
        """As tensors: all texts concatenated, and the end of each."""
        return {**_pack("names", self.names), **_pack("keys", self.keys)}

    @classmethod
    def unpack(cls, tensors: dict[str, NDArray[Any]]) -> Labels:
        """Inverse of ``pack``.

        Raises:
            ValueError: the tensors do not come from ``pack``.
        """
        return cls(_unpack("names", tensors), _unpack("keys", tensors))

    @classmethod
    def concat(cls, parts: Sequence[Labels]) -> Labels:
        """Concatenate."""
        return cls(tuple(n for part in parts for n in part.names), tuple(k for part in parts for k in part.keys))

    def take(self, places: Sequence[int] | range) -> Labels:
        """Those at some places."""
        return Labels(tuple(self.names[place] for place in places), tuple(self.keys[place] for place in places))


def write_rows(folder: Path, rows: Float16Array, labels: Labels, start: int) -> IndexShard:
    """Write rows (n, D) and their table; the same rows at the same place give the same files.

    Args:
        folder: of the shards.
        rows: the vectors.
        labels: of each row.
        start: number of the first row in the index, which makes every table unique.

    Raises:
        OSError: a file could not be written.
    """
    data = np.ascontiguousarray(rows, "<f2").view(np.uint8).data.cast("B")
    checks = np.array([zlib.crc32(row.tobytes()) for row in rows.astype("<f2", copy=False)], np.uint32)
    table = safetensors.numpy.save({"checks": checks, "start": np.array([start], np.int64), **labels.pack()})
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


def check_whole(path: Path, digest: str) -> None:
    """Check a file of any size against its digest.

    Raises:
        IndexDamagedError: it is missing, unreadable or damaged.
    """
    try:
        found = digest_of_own(path)
    except OSError as error:
        raise damaged(path, f"cannot be read ({error.strerror})") from error
    if found != digest:
        raise damaged(path, "does not hold what was written")


def read_tensors(path: Path, digest: str, limit: int = MAX_WHOLE_BYTES) -> dict[str, NDArray[Any]]:
    """Read a safetensors file and check it against its digest; one above the limit of bytes is not read.

    Raises:
        IndexDamagedError: it is missing, unreadable, too large, damaged, or holds no tensors.
    """
    try:
        data = read_own(path, limit=limit)
    except OSError as error:
        raise damaged(path, f"cannot be read ({error.strerror})") from error
    if digest_of(data) != digest:
        raise damaged(path, "does not hold what was written")
    try:
        return safetensors.numpy.load(data)
    except (SafetensorError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise damaged(path, f"holds no tensors ({error})") from error


def read_table(folder: Path, shard: IndexShard) -> tuple[NDArray[np.uint32], Labels]:
    """Checksums, names and keys of a shard's rows.

    Raises:
        IndexDamagedError: the table is damaged, or has another number of rows.
    """
    path = table_path(folder, shard)
    tensors = read_tensors(path, shard.table, HEADER_BYTES + shard.count * MAX_LABEL_BYTES)
    try:
        checks, labels = tensors["checks"], Labels.unpack(tensors)
        if checks.dtype != np.uint32 or not len(checks) == len(labels.names) == len(labels.keys) == shard.count:
            raise ValueError(f"it does not have {shard.count} rows")
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(path, f"is not a table ({error})") from error
    return checks.reshape(-1).view(np.uint32), labels


def read_labels(folder: Path, shard: IndexShard) -> Labels:
    """Names and keys of a shard's rows.

    Raises:
        IndexDamagedError: the table is damaged.
    """
    return read_table(folder, shard)[1]


class MappedRows:
    """All rows of an index, memory-mapped; each is checked when it is read.

    Args:
        folder: of the shards.
        shards: in order; rows are numbered across them.
        width: values of a row.

    Raises:
        IndexDamagedError: a file is missing or has the wrong size, or a table is damaged.
    """

    def __init__(self, folder: Path, shards: Sequence[IndexShard], width: int) -> None:
        self._paths = [rows_path(folder, shard) for shard in shards]
        # Shards of equal rows share a file, which is mapped once.
        mapped = {shard: _mapped(rows_path(folder, shard), shard.count, width) for shard in set(shards)}
        self.blocks = [mapped[shard] for shard in shards]
        self._checks = [read_table(folder, shard)[0] for shard in shards]
        self._starts = np.cumsum([0, *(shard.count for shard in shards)])
        self._width = width

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def nbytes(self) -> int:
        """Bytes in memory, of the checksums; mapped rows belong to the file cache."""
        return sum(checks.nbytes for checks in self._checks)

    def read(self, numbers: NDArray[np.int64]) -> Float16Array:
        """Rows (K, D) of these numbers.

        Raises:
            IndexDamagedError: a row is damaged.
        """
        rows = np.empty((len(numbers), self._width), np.float16)
        shards = np.searchsorted(self._starts, numbers, side="right") - 1
        places = numbers - self._starts[shards]
        for row, shard, place in zip(rows, shards.tolist(), places.tolist(), strict=True):
            self._read_into(row, shard, place)
        return rows

    def check_all(self) -> Iterator[str]:
        """Read all rows; yields a sentence for each damaged one."""
        row = np.empty(self._width, np.float16)
        for shard, block in enumerate(self.blocks):
            for place in range(len(block)):
                try:
                    self._read_into(row, shard, place)
                except ValueError as error:
                    yield str(error)

    def locate(self, number: int) -> tuple[int, int]:
        """The shard of a row, and its place there."""
        shard = int(np.searchsorted(self._starts, number, side="right")) - 1
        return shard, number - int(self._starts[shard])

    def _read_into(self, row: Float16Array, shard: int, place: int) -> None:
        row[:] = self.blocks[shard][place]
        if zlib.crc32(row.data.cast("B")) != self._checks[shard][place]:
            raise damaged(self._paths[shard], f"does not hold what was written in row {place}")


def _mapped(path: Path, count: int, width: int) -> Float16Array:
    try:
        size = own_size(path)
    except OSError as error:
        raise damaged(path, f"cannot be read ({error.strerror})") from error
    if size != count * width * 2:
        raise damaged(path, f"has {size} bytes instead of {count * width * 2}")
    # Copy-on-write, since torch wants writable memory; nobody writes to it.
    return np.asarray(np.memmap(path, "<f2", mode="c", shape=(count, width)))


def _pack(name: str, texts: Sequence[str]) -> dict[str, NDArray[np.generic]]:
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
    return {name: np.frombuffer(b"".join(encoded), np.uint8), f"{name}_ends": ends}


def _unpack(name: str, tensors: dict[str, NDArray[Any]]) -> tuple[str, ...]:
    data, ends = tensors[name], tensors[f"{name}_ends"]
    if data.dtype != np.uint8 or data.ndim != 1 or ends.dtype != np.int64 or ends.ndim != 1:
        raise ValueError(f"its {name} are not text")
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]]) if len(ends) else ends
    if len(ends) and (bool((ends < starts).any()) or ends[0] < 0 or ends[-1] != len(data)):
        raise ValueError(f"the ends of its {name} do not match")
    text = data.tobytes()
    return tuple(
        text[start:end].decode("utf-8", "surrogatepass")
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    )
