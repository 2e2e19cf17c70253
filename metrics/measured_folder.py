"""Features of a folder's images, measured one batch after the other in bounded memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..features.picture_files import (
    UNREADABLE,
    Progress,
    as_tensor,
    read_picture,
)
from ..features.space import FeatureSpace

# Pixels decoded at once, and pictures measured at once.
_BATCH_PIXELS = 1 << 24
_BATCH = 16
# Features beyond this many bytes live in a file.
_MEMORY = 1 << 28


@dataclass(frozen=True)
class FolderFeatures:
    """The pictures of a folder and their features.

    Attributes:
        paths: of the pictures, sorted.
        features: (n, d) unit rows, NaN for a file that could not be read.
        unreadable: such files, and why.
    """

    paths: tuple[Path, ...]
    features: Tensor
    unreadable: tuple[tuple[Path, str], ...]


def measure_folder(paths: Sequence[Path], space: FeatureSpace, progress: Progress | None = None) -> FolderFeatures:
    """Features of every picture.

    Args:
        paths: of the pictures.
        space: of pictures.
        progress: told after every batch.
    """
    features = _storage(len(paths), space.dimension)
    unreadable: list[tuple[Path, str]] = []
    done = 0
    for rows, pictures in _batches(paths, unreadable):
        with torch.no_grad():
            features[rows] = space(pictures).to("cpu", torch.float32)
        done = rows[-1] + 1
        if progress is not None:
            progress(done, len(paths))
    if progress is not None and done < len(paths):
        progress(len(paths), len(paths))
    return FolderFeatures(tuple(paths), features, tuple(unreadable))


def _batches(paths: Sequence[Path], unreadable: list[tuple[Path, str]]) -> Iterator[tuple[list[int], Tensor]]:
    """Indices and pictures (B, 3, H, W) of consecutive readable files of the same size."""
    rows: list[int] = []
    pictures: list[Tensor] = []
    for row, path in enumerate(paths):
        try:
            picture = as_tensor(read_picture(path))
        except UNREADABLE as error:
            unreadable.append((path, str(error) or type(error).__name__))
            continue
        full = len(rows) == _BATCH or (len(rows) + 1) * picture[0].numel() > _BATCH_PIXELS
        if rows and (full or picture.shape != pictures[0].shape):
            yield rows, torch.stack(pictures)
            rows, pictures = [], []
        rows.append(row)
        pictures.append(picture)
    if rows:
        yield rows, torch.stack(pictures)


def _storage(count: int, dimension: int) -> Tensor:
    """(count, dimension) NaN, in memory or, where that is much, in a file that vanishes with it."""
    if count * dimension * 4 <= _MEMORY:
        return torch.full((count, dimension), torch.nan)
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the map keeps it open and its end removes it
    values = np.memmap(file, dtype=np.float32, mode="w+", shape=(count, dimension))
    for start in range(0, count, 4096):
        values[start : start + 4096] = np.nan
    return torch.from_numpy(values)
