"""Shards: safetensors files that are written once, never changed, and named by the hash of their bytes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from ..files import digest_of, write_whole
from .errors import BankDamagedError

SUFFIX = ".safetensors"
# Reading a shard holds it twice for a moment; small shards keep that far below the size of a bank.
SHARD_BYTES = 16 * 2**20

DTYPES = {"float16": torch.float16, "float32": torch.float32, "uint8": torch.uint8}


@dataclass(frozen=True)
class Shard:
    """A shard on disk.

    Attributes:
        folder: where it lies.
        digest: first 32 hexadecimal digits of the SHA-256 of its bytes; its name.
        size: its bytes.
    """

    folder: Path
    digest: str
    size: int

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / (self.digest + SUFFIX)


@dataclass(frozen=True)
class StoredRow:
    """One row of one tensor of a shard: shape and dtype are known without opening it."""

    shard: Shard
    tensor: str
    row: int
    shape: tuple[int, ...]
    dtype: torch.dtype


def write_shard(folder: Path, tensors: Mapping[str, Tensor]) -> Shard:
    """Write the tensors so that the shard is either there as a whole or not at all.

    Raises:
        OSError: the file could not be written; nothing of it is left.
    """
    data = safetensors.torch.save(dict(tensors))
    shard = Shard(folder, digest_of(data), len(data))
    write_whole(shard.path, data)
    return shard


def read_shard(shard: Shard) -> dict[str, Tensor]:
    """Read a shard and check it against its size and hash.

    Raises:
        BankDamagedError: the file is missing, unreadable or not what was written.
    """
    try:
        data = shard.path.read_bytes()
    except OSError as error:
        raise damaged(shard, f"cannot be read ({error.strerror})") from error
    if len(data) != shard.size:
        raise damaged(shard, f"has {len(data)} bytes instead of {shard.size}")
    if digest_of(data) != shard.digest:
        raise damaged(shard, "does not hold what was written")
    return safetensors.torch.load(data)


def check_sizes(folder: Path, shards: Iterable[Shard]) -> None:
    """Compare sizes on disk with those expected: one listing of the folder, no file is opened.

    Raises:
        BankDamagedError: a shard is missing or has another size.
    """
    sizes = {}
    if folder.is_dir():
        with os.scandir(folder) as listing:
            sizes = {item.name: item.stat().st_size for item in listing}
    for shard in shards:
        size = sizes.get(shard.path.name)
        if size is None:
            raise damaged(shard, "is missing")
        if size != shard.size:
            raise damaged(shard, f"has {size} bytes instead of {shard.size}")


def holds_shards(folder: Path) -> bool:
    """Whether there is any shard in the folder; stops at the first."""
    if not folder.is_dir():
        return False
    with os.scandir(folder) as listing:
        return any(item.name.endswith(SUFFIX) for item in listing)


def damaged(shard: Shard, what: str) -> BankDamagedError:
    """The error that names a shard and says what to do about it."""
    return BankDamagedError(
        f"The bank's file {shard.path} {what}. Restore it from a backup, or call the bank's repair(), which drops "
        "only the damaged entries."
    )


def gather(sources: Sequence[StoredRow | Tensor]) -> Tensor:
    """Copy rows from shards and from memory into one tensor, shape (N, ...), opening each shard once.

    Rows of different precision come out in the highest of them. The result is an ordinary tensor even when this is
    called in inference mode, so that gradients may be taken through what is computed from it.

    Raises:
        BankDamagedError: a shard is missing or is not what was written.
        ValueError: the rows have different shapes.
    """
    shapes = {tuple(source.shape) for source in sources}
    if len(shapes) != 1:
        raise ValueError(f"Rows of one shape are needed to stack them, got {sorted(shapes)}.")
    dtypes = {source.dtype for source in sources}
    dtype = dtypes.pop() if len(dtypes) == 1 else torch.float32
    with torch.inference_mode(False):
        rows = torch.empty((len(sources), *shapes.pop()), dtype=dtype)
        wanted: dict[Shard, list[int]] = {}
        for place, source in enumerate(sources):
            if isinstance(source, Tensor):
                rows[place].copy_(source)
            else:
                wanted.setdefault(source.shard, []).append(place)
        for shard, places in wanted.items():
            tensors = read_shard(shard)
            for place in places:
                source = sources[place]
                assert isinstance(source, StoredRow)
                rows[place].copy_(tensors[source.tensor][source.row])
    return rows


def grouped_by_size(sizes: Sequence[int], limit: int = SHARD_BYTES) -> Iterator[range]:
    """Split consecutive items into runs of at most ``limit`` bytes, at least one item each."""
    begin = total = 0
    for place, size in enumerate(sizes):
        if place > begin and total + size > limit:
            yield range(begin, place)
            begin, total = place, 0
        total += size
    if begin < len(sizes):
        yield range(begin, len(sizes))
