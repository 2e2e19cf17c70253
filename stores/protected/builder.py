"""Building and changing a Protected Index: a build is prepared beside the published index, then published at once.

Until then the published index stays readable and unchanged. A build that is stopped keeps what it has so far, and the
next build continues it.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from torch import Tensor

from ..encoders import check_encoder
from ..files import is_digest, is_plain_folder, remove_own, remove_unfinished, require_storable
from .errors import IndexSpaceError, damaged, translate_write_errors
from .key_index import JoinResult, KeyIndex
from .lock import BuilderLock
from .manifest import NAME as MANIFEST
from .manifest import Manifest, read_manifest, write_manifest
from .rows import (
    ROWS_SUFFIX,
    TABLE_SUFFIX,
    Float16Array,
    IndexShard,
    Labels,
    MappedRows,
    check_whole,
    read_labels,
    rows_path,
    write_rows,
)
from .search.filter_file import SUFFIX as FILTER_SUFFIX
from .search.filter_file import write_filter
from .search.projection_filter import ProjectionFilter
from .spaces import encoder_of, latent_format_of, name_of
from .staging import BuildSpec, Staging, rechunk

SHARD_BYTES = 64 * 2**20
PART_BYTES = 256 * 2**20
"""Approximate size of the files in which appended vectors are staged."""

STAGING = "building"
SHARDS = "shards"
LOCK = "lock"

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, done, total)."""


class IndexBuilder:
    """Builds or changes the index in a folder, exclusively among all processes; use it in a ``with`` block.

    Args:
        folder: of the index; created if missing.
        space: of the vectors, such as "latent:SD3" or "features:<tag>".
        shape: of one vector.
        shard_bytes: approximate size of a finished shard; an index keeps that of its first build.

    Raises:
        IndexSpaceError: the index or a build in the folder has another space or shape.
        IndexDamagedError: the manifest is damaged.
        IndexWriteError: the folder cannot be written, or another process builds there.
        ValueError: the shape is empty.
    """

    def __init__(self, folder: Path, space: str, shape: Sequence[int], *, shard_bytes: int = SHARD_BYTES) -> None:
        self.folder = Path(folder).absolute()
        width = math.prod(shape)
        if not space or not shape or width < 1:
            raise ValueError(f"An index needs a space and a shape of at least one value, not {space!r}, {shape}.")
        self._removed: set[int] = set()
        self._held_keys: KeyIndex | None = None
        with translate_write_errors(self.folder):
            (self.folder / SHARDS).mkdir(parents=True, exist_ok=True)
            if not is_plain_folder(self.folder / SHARDS):
                raise damaged(self.folder / SHARDS, "is a link")
            self._lock = BuilderLock(self.folder / LOCK)
            try:
                # Only now: the last holder of the lock may have published.
                self._published = read_manifest(self.folder) if os.path.lexists(self.folder / MANIFEST) else None
                rows = max(1, shard_bytes // (2 * width))
                self._spec = _next_spec(self._published) or BuildSpec(1, space, tuple(shape), rows)
                self._check(space, tuple(shape))
                self._staging = self._open_staging()
            except BaseException:
                self._lock.release()
                raise

    @classmethod
    def opened(cls, folder: Path) -> IndexBuilder:
        """A builder for the existing index in a folder.

        Raises:
            ProtectedIndexError: there is none, or as for the class.
        """
        manifest = read_manifest(Path(folder))
        return cls(folder, manifest.space, manifest.shape)

    def __enter__(self) -> IndexBuilder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._staging.discard_if_empty()
        self._lock.release()

    def labels(self) -> Labels:
        """Names and keys of everything published and staged, in order.

        Raises:
            IndexDamagedError: a file of the index or of the build is damaged.
        """
        kept = [labels for _, _, labels in self._kept_labels()]
        return Labels.concat([*kept, self._staging.labels()])

    def append(self, vectors: Tensor, names: Sequence[str], keys: Sequence[str] | None = None) -> None:
        """Stage vectors for the index; they survive a crash after this call.

        Args:
            vectors: shape (n, *shape), any floating dtype and device; stored as fp16.
            names: of each vector, such as the image's file name.
            keys: identify the content of each vector, such as the hash of the image's file; none by default.

        Raises:
            IndexSpaceError: the vectors have another shape.
            IndexWriteError: they could not be written; the build is unchanged.
            ValueError: a vector is not finite, or the numbers of vectors, names and keys differ.
        """
        if tuple(vectors.shape[1:]) != self._spec.shape:
            raise IndexSpaceError(
                f"The index holds vectors of shape {self._spec.shape}, these have {tuple(vectors.shape[1:])}."
            )
        labels = Labels(tuple(names), ("",) * len(names) if keys is None else tuple(keys))
        if not len(vectors) == len(labels.names) == len(labels.keys):
            raise ValueError(f"{len(vectors)} vectors need as many names and keys, not {len(names)}.")
        if len(vectors) == 0:
            return
        require_storable(vectors, "A vector to protect")
        with translate_write_errors(self.folder):
            self._stage(vectors.detach().to("cpu", torch.float16).flatten(1).numpy(), labels)

    def join(self, folder: Path) -> JoinResult:
        """Stage everything from another folder's index and build.

        Known keys are left out, as are known names of vectors without a key. So an interrupted join can be repeated.

        Raises:
            IndexSpaceError: the other index has another space or shape.
            IndexDamagedError: a file of the other index is damaged.
            IndexWriteError: this index could not be written.
        """
        if self._held_keys is None:
            self._held_keys = KeyIndex(self.labels())
        taken = repeated = 0
        with IndexBuilder(folder, self._spec.space, self._spec.shape) as other:
            for rows, labels in other._everything():
                new, known = self._held_keys.new(labels)
                with translate_write_errors(self.folder):
                    if new:
                        self._stage(rows[new], labels.take(new))
                taken += len(new)
                repeated += known
        return JoinResult(taken, repeated)

    def remove(self, references: Sequence[int] | Sequence[str]) -> int:
        """Remove published references by number or name, and return how many were removed.

        Raises:
            IndexDamagedError: a table of the index is damaged.
            ValueError: a reference does not exist; nothing is removed.
        """
        names = [] if self._published is None else [n for s in self._published.shards for n in self._labels(s).names]
        known = {name for name in references if isinstance(name, str)}
        numbers = {number for number in references if isinstance(number, int)}
        missing = [*(known - set(names)), *(number for number in numbers if not 0 <= number < len(names))]
        if missing:
            raise ValueError(f"The index in {self.folder} holds no {missing[0]!r}: nothing was removed.")
        new = (numbers | {number for number, name in enumerate(names) if name in known}) - self._removed
        self._removed |= new
        self._held_keys = None
        return len(new)

    def finish(self, progress: Progress | None = None) -> Manifest:
        """Publish the references that were published before, less the removed ones, and all staged ones.

        Raises:
            IndexDamagedError: a file of the index or of the build is damaged.
            IndexWriteError: the index could not be written; the published one is unchanged.
        """
        tell = progress or (lambda what, done, total: None)
        with translate_write_errors(self.folder):
            untouched = self._untouched()
            for shard in untouched:
                # The new filter is fitted to these rows: damaged ones would never be found again.
                check_whole(rows_path(self.folder / SHARDS, shard), shard.rows)
            shards = list(untouched)
            for rows, labels in rechunk(self._everything(len(untouched)), self._spec.shard_rows):
                start = sum(shard.count for shard in shards)
                shards.append(write_rows(self.folder / SHARDS, rows, labels, start))
                tell("shards", len(shards), len(shards))
            mapped = MappedRows(self.folder / SHARDS, shards, math.prod(self._spec.shape))
            tell("filter", 0, 1)
            digest = write_filter(self.folder / SHARDS, ProjectionFilter.fit(mapped.blocks)) if len(mapped) else ""
            tell("filter", 1, 1)
            spec = self._spec
            manifest = Manifest(spec.generation, spec.space, spec.shape, spec.shard_rows, tuple(shards), digest)
            write_manifest(self.folder, manifest)
            self._sweep(manifest)
            self._published, self._removed = manifest, set()
            self._spec = _next_spec(manifest) or self._spec
            self._staging = self._open_staging()
        return manifest

    def _stage(self, rows: Float16Array, labels: Labels) -> None:
        step = max(1, PART_BYTES // (2 * rows.shape[1]))
        for start in range(0, len(rows), step):
            part = range(start, min(start + step, len(rows)))
            self._staging.append(rows[part.start : part.stop], labels.take(part))
        if self._held_keys is not None:
            self._held_keys.add(labels)

    def _check(self, space: str, shape: tuple[int, ...]) -> None:
        if latent_format_of(self._spec.space) == latent_format_of(space) != "":
            check_encoder(
                f"The index in {self.folder}",
                encoder_of(self._spec.space),
                encoder_of(space),
                "Choose another folder for the latents of this one.",
            )
        if (self._spec.space, self._spec.shape) != (space, shape):
            raise IndexSpaceError(
                f"The index in {self.folder} holds {name_of(self._spec.space)} of shape {self._spec.shape}, these are "
                f"{name_of(space)} of shape {shape}: choose another folder for them."
            )

    def _untouched(self) -> list[IndexShard]:
        """The leading published shards that do not change: full ones from which nothing is removed."""
        stay: list[IndexShard] = []
        first = min(self._removed, default=math.inf)
        for shard in () if self._published is None else self._published.shards:
            end = sum(kept.count for kept in stay) + shard.count
            if shard.count < self._spec.shard_rows or end > first:
                break
            stay.append(shard)
        return stay

    def _everything(self, skipped: int = 0) -> Iterator[tuple[Float16Array, Labels]]:
        yield from self._kept(skipped)
        yield from self._staging.parts()

    def _kept(self, skipped: int = 0) -> Iterator[tuple[Float16Array, Labels]]:
        """The published rows that are not removed, without those of the first shards."""
        width = math.prod(self._spec.shape)
        for shard, stay, labels in self._kept_labels(skipped):
            yield MappedRows(self.folder / SHARDS, [shard], width).read(np.array(stay, np.int64)), labels

    def _kept_labels(self, skipped: int = 0) -> Iterator[tuple[IndexShard, list[int], Labels]]:
        start = 0
        for place, shard in enumerate(() if self._published is None else self._published.shards):
            if place >= skipped:
                stay = [row for row in range(shard.count) if start + row not in self._removed]
                yield shard, stay, self._labels(shard).take(stay)
            start += shard.count

    def _open_staging(self) -> Staging:
        for folder in (self.folder, self.folder / SHARDS):
            remove_unfinished(folder)
        return Staging(self.folder / f"{STAGING}-{self._spec.generation}", self._spec)

    def _labels(self, shard: IndexShard) -> Labels:
        return read_labels(self.folder / SHARDS, shard)

    def _sweep(self, manifest: Manifest) -> None:
        """Delete files that the manifest does not name; Windows keeps those that another process has open."""
        used = {name for shard in manifest.shards for name in (shard.rows, shard.table)} | {manifest.filter}
        for path in (self.folder / SHARDS).iterdir():
            ours = path.suffix in (ROWS_SUFFIX, TABLE_SUFFIX, FILTER_SUFFIX) and is_digest(path.stem)
            if ours and path.stem not in used:
                with suppress(PermissionError):
                    remove_own(path)
        for path in self.folder.glob(f"{STAGING}-*"):
            shutil.rmtree(path, ignore_errors=True)


def _next_spec(published: Manifest | None) -> BuildSpec | None:
    """The spec of the build after a published state."""
    if published is None:
        return None
    return BuildSpec(published.generation + 1, published.space, published.shape, published.shard_rows)
