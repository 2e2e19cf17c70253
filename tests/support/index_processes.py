"""What other processes do to a Protected Index: functions that they import by name."""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch
from diversity_guidance.stores.protected.builder import IndexBuilder
from diversity_guidance.stores.protected.errors import IndexWriteError
from diversity_guidance.stores.protected.index import ProtectedIndex
from support.index_data import SPACE, references
from torch import Tensor

SHAPE = (4, 3, 2)
PARTS, PART_ROWS = 8, 25


def part(number: int) -> Tensor:
    """One part of what ``build_or_resume`` builds, (PART_ROWS, *SHAPE)."""
    return references("clusters", PART_ROWS, 24, number).view(-1, *SHAPE)


def content(folder: Path) -> dict[str, bytes]:
    """Every file and its bytes; the lock is no content."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


def build_or_resume(folder: Path, started: Connection | None = None) -> None:
    """Build an index of all parts, from wherever an earlier build was stopped; tell when it begins."""
    if started is not None:
        started.send(True)
    with IndexBuilder(folder, SPACE, SHAPE, shard_bytes=3000) as builder:
        known = set(builder.labels().names)
        for number in range(PARTS):
            names = [f"{number}/{row}.png" for row in range(PART_ROWS)]
            if names[0] not in known:
                builder.append(part(number), names, [f"hash of {name}" for name in names])
        builder.finish()


def fail_to_build(folder: Path, limit: int) -> None:
    """Fail because no file may grow beyond ``limit`` bytes."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    failure = pytest.raises(IndexWriteError, match=r"free some space.*stays as it was")
    with failure, IndexBuilder.opened(folder) as builder:
        builder.append(torch.zeros(20, *SHAPE), ["zero"] * 20)
        builder.finish()


def ask(folder: Path, points: Tensor, radius: float, expected: Tensor) -> None:
    """Open an index and find what is expected in it, again and again."""
    index = ProtectedIndex.open(folder)
    for _ in range(20):
        assert torch.equal(index.within(points, radius).references, expected)
