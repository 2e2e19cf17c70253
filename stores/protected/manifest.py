"""The manifest of a Protected Index: its published state, replaced by renaming one small file."""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from ..files import is_digest
from .checksummed_json import read_checksummed, write_checksummed
from .errors import IndexVersionError, ProtectedIndexError, damaged
from .rows import IndexShard

FORMAT = "diversity-guidance protected index"
VERSION = 3
NAME = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """A published state of an index.

    Attributes:
        generation: number of publications.
        space: of the vectors, such as "latent:SD3".
        shape: of one vector.
        shard_rows: rows of every shard but the last.
        shards: in the order of their rows.
        filter: digest of the filter's file; "" for an empty index.
    """

    generation: int
    space: str
    shape: tuple[int, ...]
    shard_rows: int
    shards: tuple[IndexShard, ...]
    filter: str

    @property
    def count(self) -> int:
        """Number of references."""
        return sum(shard.count for shard in self.shards)

    @property
    def width(self) -> int:
        """Values of one vector."""
        return math.prod(self.shape)

    def fingerprint(self) -> str:
        """Hash of the references and their order, hexadecimal, however they were built."""
        content = [self.space, self.shape, [asdict(shard) for shard in self.shards]]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Publish a state.

    Raises:
        OSError: it could not be written; the previous state remains.
    """
    write_checksummed(folder / NAME, {"format": FORMAT, "version": VERSION, **asdict(manifest)})


def read_manifest(folder: Path) -> Manifest:
    """The published state of the index in a folder.

    Raises:
        IndexVersionError: it has the format of a newer or older version.
        IndexDamagedError: it is damaged.
        ProtectedIndexError: there is none.
    """
    path = folder / NAME
    if not os.path.lexists(path):
        raise ProtectedIndexError(
            f"There is no protected index in {folder}: build one there, or finish the one that was begun."
        )
    content = read_checksummed(path)
    if content.pop("format", None) != FORMAT:
        raise damaged(path, "is not a manifest of a protected index")
    version = content.pop("version", None)
    if version != VERSION:
        older = isinstance(version, int) and version < VERSION
        age, advice = (
            ("an older", "delete its folder and build the index again") if older else ("a newer", "update the pack")
        )
        raise IndexVersionError(
            f"{path} was written by {age} version (format {version}, this one reads {VERSION}): {advice}."
        )
    try:
        shards = tuple(IndexShard(**shard) for shard in content.pop("shards"))
        manifest = Manifest(**{**content, "shape": tuple(content["shape"])}, shards=shards)
    except (AttributeError, KeyError, TypeError) as error:
        raise damaged(path, f"lacks what a manifest holds ({error})") from error
    # Digests become file names: a stranger's index must not reach outside its folder.
    digests = [digest for shard in shards for digest in (shard.rows, shard.table)] + [manifest.filter] * bool(shards)
    if not all(map(is_digest, digests)) or (not shards and manifest.filter != ""):
        raise damaged(path, "names files that are not an index's own")
    if not _is_sound(manifest):
        raise damaged(path, "does not describe an index")
    return manifest


def _is_sound(manifest: Manifest) -> bool:
    counts = [manifest.generation, manifest.shard_rows, *manifest.shape, *(shard.count for shard in manifest.shards)]
    return (
        isinstance(manifest.space, str)
        and bool(manifest.shape)
        and all(type(count) is int and 0 < count < 2**48 for count in counts)
        # A table holds the number of its first row, so no two are equal.
        and len({shard.table for shard in manifest.shards}) == len(manifest.shards)
    )
