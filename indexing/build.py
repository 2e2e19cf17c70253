"""Filling an index from a source: only new items are encoded, and a stopped build resumes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from ..features.image_folder import summary
from ..stores.protected.builder import IndexBuilder
from ..stores.protected.manifest import NAME as MANIFEST
from ..stores.protected.manifest import read_manifest
from .sources import (
    Part,
    Passed,
    Progress,
    Source,
)

KEPT_BYTES, KEPT_SECONDS = 8 * 2**20, 30.0
"""Size and age at which encoded vectors are written to disk: at most this is lost if the process is killed."""


@dataclass(frozen=True)
class Outcome:
    """What a build did.

    Attributes:
        added: number of new vectors.
        total: number of vectors in the index.
        repeated: number of items that it held already, or that occur twice.
        unreadable: names of unreadable files, and why.
        passed_over: names of skipped files, and why.
        finished: false if the build was stopped; what was encoded is kept.
    """

    added: int
    total: int
    repeated: int
    unreadable: tuple[tuple[str, str], ...]
    passed_over: tuple[tuple[str, str], ...] = ()
    finished: bool = True

    def sentence(self) -> str:
        """For the user."""
        if not self.finished:
            return "Stopped: what was encoded is kept, and the next build goes on from there."
        told = [f"{self.added:,} images were added, {self.repeated:,} were known: {self.total:,} are protected."]
        told += [f"{len(self.unreadable):,} could not be read."] * bool(self.unreadable)
        return " ".join([*told, summary(self.passed_over)]).rstrip()


def build(
    folder: Path, space: str, source: Source, progress: Progress, stopped: Callable[[], bool] = lambda: False
) -> Outcome:
    """Create the index in a folder, or add to it.

    Args:
        folder: of the index.
        space: of the vectors (``stores.protected.spaces``).
        source: of the vectors.
        progress: called with (items done, items in all).
        stopped: whether to stop; called after every batch.

    Raises:
        IndexSpaceError: the index there is of another space or shape.
        IndexWriteError: it cannot be written; it stays as it was.
        ValueError: there is nothing to protect, or the source cannot be read.
    """
    with IndexBuilder(folder, space, source.shape()) as builder:
        passed = passed_before(builder)
        if not collect(builder, source, passed, progress, stopped):
            return Outcome(0, 0, passed.repeated, tuple(passed.unreadable), tuple(passed.passed_over), finished=False)
        return publish(builder, passed)


def collect(
    builder: IndexBuilder, source: Source, passed: Passed, progress: Progress, stopped: Callable[[], bool]
) -> bool:
    """Append new vectors; False if stopped. What was encoded is kept, even after an error."""
    waiting: list[Part] = []
    since = time.monotonic()
    try:
        for part in source.parts(passed, progress):
            waiting.append(part)
            if stopped():
                return False
            size = sum(2 * kept.vectors.numel() for kept in waiting)
            if size >= KEPT_BYTES or time.monotonic() - since >= KEPT_SECONDS:
                full, waiting, since = waiting, [], time.monotonic()
                _append(builder, full)
        return True
    finally:
        _append(builder, waiting)


def passed_before(builder: IndexBuilder) -> Passed:
    """The contents of the index and of an unfinished build."""
    keys = builder.labels().keys
    return Passed(set(keys), set(keys[_published(builder) :]))


def publish(builder: IndexBuilder, passed: Passed) -> Outcome:
    """Publish the appended vectors, if there are any.

    Raises:
        IndexWriteError: it cannot be written; the published index stays as it was.
        ValueError: there is nothing to protect.
    """
    before = _published(builder)
    total = len(builder.labels())
    if total == 0:
        raise ValueError(f"Nothing could be read, so {builder.folder} protects nothing: check the files.")
    if total > before:
        builder.finish()
    return Outcome(total - before, total, passed.repeated, tuple(passed.unreadable), tuple(passed.passed_over))


def _published(builder: IndexBuilder) -> int:
    return read_manifest(builder.folder).count if (builder.folder / MANIFEST).is_file() else 0


def _append(builder: IndexBuilder, parts: list[Part]) -> None:
    if parts:
        builder.append(
            torch.cat([part.vectors for part in parts]),
            [name for part in parts for name in part.names],
            [key for part in parts for key in part.keys],
        )
