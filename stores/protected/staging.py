"""What a build of a Protected Index has staged so far; no reader sees it until the build is finished."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy

from ..files import digest_of, is_plain_folder, remove_unfinished, write_whole
from .checksummed_json import read_checksummed, write_checksummed
from .errors import IndexSpaceError, damaged
from .rows import Float16Array, Labels, read_tensors

HEAD = "head.json"
SUFFIX = ".safetensors"
PART = re.compile("[0-9]{8,}-[0-9a-f]{32}")


@dataclass(frozen=True)
class BuildSpec:
    """What a build makes; a build that is continued must make the same.

    Attributes:
        generation: of the state to publish.
        space: of the vectors.
        shape: of one vector.
        shard_rows: rows of a finished shard.
    """

    generation: int
    space: str
    shape: tuple[int, ...]
    shard_rows: int


class Staging:
    """The folder of a build, which is created or continued.

    Args:
        folder: of the build.
        spec: of the build.

    Raises:
        IndexSpaceError: the build in the folder has another space or shape.
        OSError: the folder could not be created.
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
                raise damaged(folder / HEAD, "does not describe a build")
            if (begun["space"], begun["shape"]) != (head["space"], head["shape"]):
                raise IndexSpaceError(
                    f"A build of {begun['space']} {tuple(begun['shape'])} was begun in {folder.parent} and this one is "
                    f"of {spec.space} {spec.shape}: finish that one first, or delete {folder}."
                )
        else:
            folder.mkdir(parents=True, exist_ok=True)
            write_checksummed(folder / HEAD, head)
        remove_unfinished(folder)
        found = [path for path in sorted(folder.glob(f"*{SUFFIX}")) if PART.fullmatch(path.stem)]
        self._parts = [(path, path.stem.partition("-")[2]) for path in found]

    def append(self, rows: Float16Array, labels: Labels) -> None:
        """Write rows (n, D) and their labels, atomically.

        Raises:
            OSError: they could not be written.
        """
        data = safetensors.numpy.save({"rows": np.ascontiguousarray(rows), **labels.pack()})
        number = int(self._parts[-1][0].stem.partition("-")[0]) + 1 if self._parts else 0
        digest = digest_of(data)
        path = self.folder / f"{number:08d}-{digest}{SUFFIX}"
        write_whole(path, data)
        self._parts.append((path, digest))

    def parts(self) -> Iterator[tuple[Float16Array, Labels]]:
        """All staged rows and their labels, in order.

        Raises:
            IndexDamagedError: a part is damaged.
        """
        for path, digest in self._parts:
            tensors = read_tensors(path, digest)
            try:
                rows, labels = tensors["rows"], Labels.unpack(tensors)
            except (KeyError, TypeError, ValueError) as error:
                raise damaged(path, f"is not a part of a build ({error})") from error
            if rows.dtype != np.float16 or rows.shape != (len(labels.names), math.prod(self.spec.shape)):
                raise damaged(path, "holds vectors of another size")
            if len(labels.keys) != len(labels.names) or not bool(np.isfinite(rows).all()):
                raise damaged(path, "holds what no build writes")
            yield rows.view(np.float16), labels

    def labels(self) -> Labels:
        """Names and keys of all staged rows.

        Raises:
            IndexDamagedError: a part is damaged.
        """
        return Labels.concat([labels for _, labels in self.parts()])

    def discard_if_empty(self) -> None:
        """Delete the folder if nothing is staged."""
        if not self._parts:
            shutil.rmtree(self.folder, ignore_errors=True)


def rechunk(parts: Iterator[tuple[Float16Array, Labels]], rows: int) -> Iterator[tuple[Float16Array, Labels]]:
    """Split rows into parts of a fixed size; the last may be smaller."""
    waiting: list[tuple[Float16Array, Labels]] = []
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


def _concat(parts: Sequence[tuple[Float16Array, Labels]]) -> tuple[Float16Array, Labels]:
    return np.concatenate([rows for rows, _ in parts]), Labels.concat([labels for _, labels in parts])
