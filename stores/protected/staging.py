"""What a build of a Protected Index has so far: shards on disk that no reader sees until the build is finished."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy

from ..files import UNFINISHED_SUFFIX, digest_of, is_plain_folder, remove_own, write_whole
from .checksummed_json import read_checksummed, write_checksummed
from .errors import IndexSpaceError, damaged
from .rows import Halves, Labels, read_tensors

HEAD = "head.json"
SUFFIX = ".safetensors"
PART = re.compile("[0-9]{8,}-[0-9a-f]{32}")


@dataclass(frozen=True)
class BuildSpec:
    """What a build is for; one that goes on must be for the same.

    Attributes:
        generation: the publication that it prepares.
        space: what the vectors are.
        shape: of one vector.
        shard_rows: rows of a finished shard.
    """

    generation: int
    space: str
    shape: tuple[int, ...]
    shard_rows: int


class Staging:
    """The folder of a build; it is made by the first use and goes on where it stopped.

    Args:
        folder: of the build.
        spec: what it is for.

    Raises:
        IndexSpaceError: the build that was begun there is for another space or shape.
        OSError: the folder could not be made.
    """

    def __init__(self, folder: Path, spec: BuildSpec) -> None:
        self.folder = folder
        self.spec = spec
        head = {"space": spec.space, "shape": list(spec.shape), "shard_rows": spec.shard_rows}
        if folder.exists() and not is_plain_folder(folder):
            raise damaged(folder, "is a link or no folder")
        if (folder / HEAD).is_file():
            begun = read_checksummed(folder / HEAD)
            if not isinstance(begun.get("space"), str) or not isinstance(begun.get("shape"), list):
                raise damaged(folder / HEAD, "describes no build")
            if (begun["space"], begun["shape"]) != (head["space"], head["shape"]):
                raise IndexSpaceError(
                    f"A build of {begun['space']} {tuple(begun['shape'])} was begun in {folder.parent} and this one is "
                    f"of {spec.space} {spec.shape}: finish that one first, or delete {folder}."
                )
        else:
            folder.mkdir(parents=True, exist_ok=True)
            write_checksummed(folder / HEAD, head)
        for path in folder.glob(f"*{UNFINISHED_SUFFIX}"):
            remove_own(path)
        found = [path for path in sorted(folder.glob(f"*{SUFFIX}")) if PART.fullmatch(path.stem)]
        self._parts = [(path, path.stem.partition("-")[2]) for path in found]

    def append(self, rows: Halves, labels: Labels) -> None:
        """Keep rows (n, D) and their labels, as a whole or not at all.

        Raises:
            OSError: they could not be written.
        """
        data = safetensors.numpy.save({"rows": np.ascontiguousarray(rows), **labels.pack()})
        number = int(self._parts[-1][0].stem.partition("-")[0]) + 1 if self._parts else 0
        digest = digest_of(data)
        path = self.folder / f"{number:08d}-{digest}{SUFFIX}"
        write_whole(path, data)
        self._parts.append((path, digest))

    def parts(self) -> Iterator[tuple[Halves, Labels]]:
        """Everything that was kept, in order.

        Raises:
            IndexDamagedError: a part is not what was written.
        """
        yield from self._read()

    def labels(self) -> Labels:
        """Names and keys of everything that was kept.

        Raises:
            IndexDamagedError: a part is not what was written.
        """
        return Labels.concat([labels for _, labels in self._read()])

    def discard_if_empty(self) -> None:
        """Leave no folder behind where nothing was kept."""
        if not self._parts:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self) -> Iterator[tuple[Halves, Labels]]:
        for path, digest in self._parts:
            tensors = read_tensors(path, digest)
            try:
                rows, labels = tensors["rows"], Labels.unpack(tensors)
            except (KeyError, TypeError, ValueError) as error:
                raise damaged(path, f"is no part of a build ({error})") from error
            if rows.dtype != np.float16 or rows.shape != (len(labels.names), math.prod(self.spec.shape)):
                raise damaged(path, "holds vectors of another size")
            if len(labels.keys) != len(labels.names) or not bool(np.isfinite(rows).all()):
                raise damaged(path, "holds what no build keeps")
            yield rows.view(np.float16), labels


def rechunk(parts: Iterator[tuple[Halves, Labels]], rows: int) -> Iterator[tuple[Halves, Labels]]:
    """The same rows in parts of a fixed size; the last may be smaller."""
    waiting: list[tuple[Halves, Labels]] = []
    held = 0
    for part in parts:
        waiting.append(part)
        held += len(part[0])
        while held >= rows:
            whole = _concat(waiting)
            yield whole[0][:rows], whole[1].take(range(rows))
            waiting = [(whole[0][rows:], whole[1].take(range(rows, held)))]
            held -= rows
    if held:
        yield _concat(waiting)


def _concat(parts: Sequence[tuple[Halves, Labels]]) -> tuple[Halves, Labels]:
    return np.concatenate([rows for rows, _ in parts]), Labels.concat([labels for _, labels in parts])
