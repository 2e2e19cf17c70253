"""The file of an exported Memory Bank: safetensors, whose metadata say what it is.

A tensor holds the latents, previews or features of one shape; ``entries`` is a table of the images as JSON in UTF-8.
The checksum covers the whole file, read with zeros in its own place.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..errors import BankError

FORMAT = "diversity-guidance bank"
VERSION = 1
ENTRIES = "entries"
CHECKSUM = "sha256"
NO_CHECKSUM = "0" * 64
HEADER_BYTES = 10_000_000
"""Limit of the header: it grows with the number of shapes, not of images."""
TABLE_BYTES = 2**30
"""Limit of the table of images."""

DTYPES = {"float16": "F16", "float32": "F32", "uint8": "U8"}
"""Names of types in the database and in safetensors."""


class ArchiveError(BankError):
    """A file is no export of a bank that can be imported here."""


class Block(NamedTuple):
    """A tensor of the file.

    Attributes:
        name: of the tensor.
        dtype: as safetensors names it.
        shape: with the number of rows first.
        size: in bytes.
    """

    name: str
    dtype: str
    shape: Sequence[int]
    size: int


def header(blocks: Sequence[Block], metadata: Mapping[str, str]) -> bytes:
    """The file's first bytes, up to the data of the first block."""
    described: dict[str, object] = {"__metadata__": dict(metadata)}
    offset = 0
    for block in blocks:
        ends = [offset, offset + block.size]
        described[block.name] = {"dtype": block.dtype, "shape": list(block.shape), "data_offsets": ends}
        offset += block.size
    text = json.dumps(described).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def checksum_place(head: bytes, checksum: str) -> int:
    """Where the checksum lies in the header.

    Raises:
        ArchiveError: it is not there, or not once.
    """
    label = f'"{CHECKSUM}": "{checksum}"'.encode()
    place = head.find(label)
    if place < 0 or head.count(label) != 1:
        raise ArchiveError("The file has no checksum of its own, so it cannot be trusted. Export the bank again.")
    return place + len(label) - 1 - len(checksum)
