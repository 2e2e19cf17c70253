"""Shards: safetensors files, written once, never changed, and named by the hash of their bytes."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from ..files import MAX_WHOLE_BYTES, digest_of, is_digest, is_plain_folder, own_size, read_own, write_whole
from .errors import BankDamagedError, ShardMissingError

SUFFIX = ".safetensors"
# A shard is briefly in memory twice while it is read.
SHARD_BYTES = 16 * 2**20
# Values summed at once to find NaN and infinity.
SUMMED_AT_ONCE = 1 << 18

DTYPES = {"float16": torch.float16, "float32": torch.float32, "uint8": torch.uint8}


@dataclass(frozen=True)
class Shard:
    """A shard on disk.

    Attributes:
        folder: of the bank's shards.
        digest: of its bytes, see ``files.digest_of``; its name.
        size: in bytes.
    """

    folder: Path
    digest: str
    size: int

    @property
    def path(self) -> Path:
        """The file."""
        if not is_digest(self.digest):
            raise BankDamagedError(
                f"The bank in {self.folder.parent} names a file {self.digest!r} that is not its own."
            )
        return self.folder / (self.digest + SUFFIX)


@dataclass(frozen=True)
class StoredRow:
    """One row of one tensor of a shard; shape and dtype are known without opening it."""

    shard: Shard
    tensor: str
    row: int
    shape: tuple[int, ...]
    dtype: torch.dtype


class Rows(NamedTuple):
    """Rows as they were read.

    Attributes:
        values: of the sound rows, shape (N, ...).
        places: of the sound rows among those asked for, ascending.
        flaws: why each other row cannot be used, by place.
    """

    values: Tensor
    places: tuple[int, ...]
    flaws: Mapping[int, str]


def write_shard(folder: Path, tensors: Mapping[str, Tensor]) -> Shard:
    """Write tensors into a new shard, atomically.

    Raises:
        OSError: the file could not be written; nothing of it is left.
        ValueError: they are larger than a file may be.
    """
    data = safetensors.torch.save(dict(tensors))
    if len(data) > MAX_WHOLE_BYTES:
        raise ValueError(
            f"One of these has {len(data)} bytes, and a bank keeps at most {MAX_WHOLE_BYTES} in one file. Remember "
            "smaller images or shorter videos."
        )
    shard = Shard(folder, digest_of(data), len(data))
    write_whole(shard.path, data)
    return shard


def read_bytes(shard: Shard) -> bytes:
    """Read a shard's file and check it against its size and hash.

    Raises:
        ShardMissingError: the file is missing.
        BankDamagedError: the file is unreadable or damaged.
    """
    try:
        data = read_own(shard.path, size=shard.size)
    except FileNotFoundError as error:
        raise damaged(shard, "is missing", ShardMissingError) from error
    except OSError as error:
        raise damaged(shard, f"cannot be read: {error.strerror}") from error
    if digest_of(data) != shard.digest:
        raise damaged(shard, "does not hold what was written")
    return data


def read_shard(shard: Shard) -> dict[str, Tensor]:
    """Read a shard's tensors.

    Raises:
        ShardMissingError: the file is missing.
        BankDamagedError: the file is unreadable, damaged or holds no tensors.
    """
    data = read_bytes(shard)
    try:
        return safetensors.torch.load(data)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise damaged(shard, f"holds no tensors ({error})") from error


def check_sizes(folder: Path, shards: Iterable[Shard]) -> None:
    """Check the sizes of shards with one listing of the folder, without opening a file.

    Raises:
        ShardMissingError: a shard is missing.
        BankDamagedError: a shard has the wrong size.
    """
    # The names are only compared: a digest that is none is no name in the folder.
    expected = {shard.digest + SUFFIX: shard for shard in shards}
    found: list[os.DirEntry[str]] = []
    if is_plain_folder(folder):
        with os.scandir(folder) as listing:
            # Other processes write and rename here at the same time.
            found = [item for item in listing if item.name in expected]
    for item in found:
        shard = expected.pop(item.name)
        try:
            size = own_size(shard.path) if item.is_symlink() else item.stat(follow_symlinks=False).st_size
        except OSError as error:
            raise damaged(shard, f"cannot be read: {error.strerror}") from error
        if size != shard.size:
            raise damaged(shard, f"has {size} bytes instead of {shard.size}")
    for shard in expected.values():
        raise damaged(shard, "is missing", ShardMissingError)


def holds_shards(folder: Path) -> bool:
    """Whether the folder holds any shard."""
    if not is_plain_folder(folder):
        return False
    with os.scandir(folder) as listing:
        return any(is_shard_name(item.name) for item in listing)


def is_shard_name(name: str) -> bool:
    """Whether a file name is that of a shard."""
    return name.endswith(SUFFIX) and is_digest(name[: -len(SUFFIX)])


def damaged(shard: Shard, what: str, kind: type[BankDamagedError] = BankDamagedError) -> BankDamagedError:
    """The error that names a shard and says what to do."""
    return kind(
        f"The bank's file {shard.path} {what}. Restore it from a backup, or drop only the damaged entries: "
        f'diversity-guidance bank repair "{shard.folder.parent}".'
    )


def row_flaw(tensors: Mapping[str, Tensor], source: StoredRow) -> str | None:
    """Why a row of a shard's tensors cannot be used, as the end of a sentence; None if it can."""
    values = tensors.get(source.tensor)
    if values is None:
        return f"there is no {source.tensor!r} in the file"
    if values.dtype != source.dtype or values.ndim < 1 or tuple(values.shape[1:]) != source.shape:
        found, told = (
            f"{str(dtype).removeprefix('torch.')} {tuple(shape)}"
            for dtype, shape in ((values.dtype, values.shape[1:]), (source.dtype, source.shape))
        )
        return f"its {source.tensor} are {found} in the file and {told} in the database"
    if not 0 <= source.row < len(values):
        return f"row {source.row} of {source.tensor} is not in the file"
    row = values[source.row].flatten()
    # A float64 sum of finite float32 values is finite; pieces keep the float64 copies small.
    pieces = row.split(SUMMED_AT_ONCE) if row.is_floating_point() else ()
    if not all(math.isfinite(piece.sum(dtype=torch.float64).item()) for piece in pieces):
        return f"its {source.tensor} hold NaN or infinite values"
    return None


def gather(sources: Sequence[StoredRow | Tensor], into: Tensor | None = None) -> Rows:
    """Copy rows from shards and from memory into one tensor, opening each shard once; flawed rows are left out.

    Rows of different precision are returned in float32. The result is never an inference tensor, so that gradients can
    be taken of what is computed from it. It lies in the memory ``into``, if that is given and no row is flawed.

    Raises:
        BankDamagedError: a shard is missing or damaged.
        ValueError: the rows have different shapes.
    """
    shapes = {tuple(source.shape) for source in sources}
    if len(shapes) != 1:
        raise ValueError(f"Rows of one shape are needed to stack them, got {sorted(shapes)}.")
    dtypes = {source.dtype for source in sources}
    dtype = dtypes.pop() if len(dtypes) == 1 else torch.float32
    flaws: dict[int, str] = {}
    with torch.inference_mode(False):
        rows = torch.empty((len(sources), *shapes.pop()), dtype=dtype) if into is None else into
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
                if flaw := row_flaw(tensors, source):
                    flaws[place] = flaw
                else:
                    rows[place].copy_(tensors[source.tensor][source.row])
            del tensors  # before the next shard is read
        sound = tuple(place for place in range(len(sources)) if place not in flaws)
        return Rows(rows[list(sound)] if flaws else rows, sound, flaws)


def grouped_by_size(sizes: Sequence[int], limit: int = SHARD_BYTES) -> Iterator[range]:
    """Split items into consecutive groups of at most ``limit`` bytes, or of one item."""
    begin = total = 0
    for place, size in enumerate(sizes):
        if place > begin and total + size > limit:
            yield range(begin, place)
            begin, total = place, 0
        total += size
    if begin < len(sizes):
        yield range(begin, len(sizes))
