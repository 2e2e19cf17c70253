"""Vectors of a Protected Index on disk: files of half-precision rows and nothing else, so that each byte is a row's.

Beside each lies a table with the rows' checksums and names. Both files are named by the hash of their bytes; a row's
own checksum (CRC-32, which no change of up to 32 bits in a row escapes) tells damage when only this row is read.
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

from ..files import (
    MAX_WHOLE_BYTES,
    digest_of,
    digest_of_own,
    own_size,
    read_own,
    write_named,
)
from .errors import damaged

Halves = NDArray[np.float16]

ROWS_SUFFIX, TABLE_SUFFIX = ".f16", ".safetensors"
MAX_LABEL_BYTES = 2**14
"""A name and a key together are shorter: the first is a file's, the second a hash."""

HEADER_BYTES = 2**16


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
    def unpack(cls, tensors: dict[str, NDArray[Any]]) -> Labels:
        """Inverse of ``pack``.

        Raises:
            ValueError: the tensors are not what ``pack`` gives.
        """
        return cls(_unpack("names", tensors), _unpack("keys", tensors))

    @classmethod
    def concat(cls, parts: Sequence[Labels]) -> Labels:
        """One after the other."""
        return cls(tuple(n for part in parts for n in part.names), tuple(k for part in parts for k in part.keys))

    def take(self, places: Sequence[int] | range) -> Labels:
        """Those of some rows."""
        return Labels(tuple(self.names[place] for place in places), tuple(self.keys[place] for place in places))


def write_rows(folder: Path, rows: Halves, labels: Labels, start: int) -> IndexShard:
    """Write rows (n, D) and their table; the same content at the same place makes the same files.

    Args:
        folder: of the shards.
        rows: the vectors.
        labels: of each row.
        start: number of the first row in the index, which makes the table of every shard its own.

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


def read_whole(path: Path, digest: str, limit: int = MAX_WHOLE_BYTES) -> bytes:
    """Read a file that is named by its content; one that is larger than the limit, or no file, is not read.

    Raises:
        IndexDamagedError: it is missing, unreadable, too large or not what was written.
    """
    try:
        data = read_own(path, limit=limit)
    except OSError as error:
        raise damaged(path, f"cannot be read ({error.strerror})") from error
    if digest_of(data) != digest:
        raise damaged(path, "does not hold what was written")
    return data


def check_whole(path: Path, digest: str) -> None:
    """Check a file of any size that is named by its content.

    Raises:
        IndexDamagedError: it is missing, unreadable or not what was written.
    """
    try:
        found = digest_of_own(path)
    except OSError as error:
        raise damaged(path, f"cannot be read ({error.strerror})") from error
    if found != digest:
        raise damaged(path, "does not hold what was written")


def read_tensors(path: Path, digest: str, limit: int = MAX_WHOLE_BYTES) -> dict[str, NDArray[Any]]:
    """Read a safetensors file that is named by its content.

    Raises:
        IndexDamagedError: it is missing, unreadable, too large, not what was written, or holds no tensors.
    """
    data = read_whole(path, digest, limit)
    try:
        return safetensors.numpy.load(data)
    except (SafetensorError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise damaged(path, f"holds no tensors ({error})") from error


def read_table(folder: Path, shard: IndexShard) -> tuple[NDArray[np.uint32], Labels]:
    """Checksums, names and keys of a shard's rows.

    Raises:
        IndexDamagedError: the table is damaged, or is not one of as many rows.
    """
    path = table_path(folder, shard)
    tensors = read_tensors(path, shard.table, HEADER_BYTES + shard.count * MAX_LABEL_BYTES)
    try:
        checks, labels = tensors["checks"], Labels.unpack(tensors)
        if checks.dtype != np.uint32 or not len(checks) == len(labels.names) == len(labels.keys) == shard.count:
            raise ValueError(f"it is not one of {shard.count} rows")
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
        # Equal rows are one file, which is mapped once.
        mapped = {shard: _mapped(rows_path(folder, shard), shard.count, width) for shard in set(shards)}
        self.blocks = [mapped[shard] for shard in shards]
        self._checks = [read_table(folder, shard)[0] for shard in shards]
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
        size = own_size(path)
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


def _unpack(name: str, tensors: dict[str, NDArray[Any]]) -> tuple[str, ...]:
    data, ends = tensors[name], tensors[f"{name}_ends"]
    if data.dtype != np.uint8 or data.ndim != 1 or ends.dtype != np.int64 or ends.ndim != 1:
        raise ValueError(f"its {name} are no text")
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]]) if len(ends) else ends
    if len(ends) and (bool((ends < starts).any()) or ends[0] < 0 or ends[-1] != len(data)):
        raise ValueError(f"its {name} end elsewhere")
    text = data.tobytes()
    return tuple(
        text[start:end].decode("utf-8", "surrogatepass")
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    )
