"""Validation of the database's rows: a bank may come from a stranger, so nothing in them is trusted."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch

from ..files import MAX_WHOLE_BYTES
from .entries import FEATURES, LATENTS, THUMBNAILS, BankEntry
from .shards import DTYPES, Shard, StoredRow

MAX_AXES = 8
MAX_POSITION = 2**62
ID = re.compile("[0-9a-f]{64}")


class Flaw(NamedTuple):
    """What is wrong with one entry, or with one of its parts.

    Attributes:
        position: of the entry.
        part: name of the part; the latents' stands for the whole entry.
        what: a sentence naming the entry.
    """

    position: int
    part: Any
    what: str


class FlawError(ValueError):
    """A row of the database is not one that the bank writes."""


def read_entry(position: Any, row: Sequence[Any]) -> BankEntry:
    """The entry at a position, of a row (id, latent_format, shape, prompt, seed, created, added, encoder, pinned).

    Raises:
        FlawError: the row is invalid.
    """
    _require(isinstance(position, int) and 0 <= position <= MAX_POSITION, "its position is invalid")
    identity, latent_format, shape, prompt, seed, created, added, encoder, pinned = row
    _require(isinstance(identity, str) and ID.fullmatch(identity), "its id is invalid")
    _require(isinstance(latent_format, str) and latent_format, "its latent format is not text")
    _require(prompt is None or isinstance(prompt, str), "its prompt is not text")
    _require(seed is None or (isinstance(seed, str) and re.fullmatch("-?[0-9]{1,20}", seed)), "its seed is invalid")
    _require(isinstance(created, str), "its time is not text")
    _require(isinstance(added, int), "its revision is not a number")
    _require(isinstance(encoder, str) and re.fullmatch("[0-9a-f]{0,64}", encoder), "its VAE's fingerprint is invalid")
    number = None if seed is None else int(seed)
    return BankEntry(identity, latent_format, read_shape(shape), prompt, number, created, added, encoder, bool(pinned))


def read_part(name: Any, row: Any, shape: Any, dtype: Any, shard: Shard | None) -> StoredRow:
    """The location of a part, from its columns in the database.

    Args:
        name: of the part.
        row: number of the row in its tensor.
        shape: as text.
        dtype: its name.
        shard: None where the database names a file that the bank does not have.

    Raises:
        FlawError: the columns are invalid.
    """
    read, kind = _read_kind(name, shape, dtype)
    if shard is None:
        raise FlawError(f"its {name} are in a file that is not the bank's own")
    _require(isinstance(row, int) and row >= 0, f"its {name} have no row")
    stored = StoredRow(shard, name, row, read, kind)
    _require(part_bytes(stored) <= shard.size, f"its {name} are larger than their file")
    return stored


@lru_cache(maxsize=1024)
def _read_kind(name: Any, shape: Any, dtype: Any) -> tuple[tuple[int, ...], torch.dtype]:
    """Shape and type of a part; few differ in a bank."""
    known = isinstance(name, str) and (name in (LATENTS, THUMBNAILS) or name.startswith(FEATURES))
    _require(known, "one of its parts has an unknown name")
    _require(isinstance(dtype, str) and dtype in DTYPES, f"its {name} are of an unknown type")
    fits = {LATENTS: (torch.float16,), THUMBNAILS: (torch.uint8,)}.get(name, (torch.float16, torch.float32))
    _require(DTYPES[dtype] in fits, f"its {name} are of a type that the bank never writes")
    return read_shape(shape), DTYPES[dtype]


@lru_cache(maxsize=1024)
def read_shape(text: Any) -> tuple[int, ...]:
    """Parse a shape: numbers separated by commas.

    Raises:
        FlawError: the text is not a shape, or one of more values than fit into a file.
    """
    _require(isinstance(text, str) and re.fullmatch("[0-9]{1,10}(,[0-9]{1,10})*", text), "its shape is invalid")
    shape = tuple(map(int, text.split(",")))
    _require(len(shape) <= MAX_AXES and 0 < math.prod(shape) <= MAX_WHOLE_BYTES, f"its shape {shape} is impossible")
    return shape


def shape_text(shape: Sequence[int]) -> str:
    """Inverse of ``read_shape``."""
    return ",".join(map(str, shape))


def part_bytes(row: StoredRow) -> int:
    """Bytes of a part."""
    return math.prod(row.shape) * row.dtype.itemsize


def part_flaw(entry: BankEntry, parts: Mapping[str, StoredRow]) -> str | None:
    """Why an entry with these parts cannot be used; None if it can."""
    latents = parts.get(LATENTS)
    if latents is None:
        return "it has no latents"
    if latents.shape != entry.shape:
        return f"its latents are of shape {latents.shape} and not {entry.shape}"
    return None


def _require(condition: object, what: str) -> None:
    if not condition:
        raise FlawError(what)
