"""Features of a folder's images, batch by batch in bounded memory."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..features.image_files import ImageFileError, Progress, as_levels, read_ahead, read_image
from ..features.space import FeatureSpace
from ..features.work_ahead import work_ahead
from .copies.thumbnails import SIDE, CopyThumbnails

# Pixels and images measured at once.
_BATCH_PIXELS = 1 << 24
_BATCH = 16
# Larger images are averaged down to this, in pixels: feature spaces use squares of at most 448. A JPEG of 24 megapixels
# (6000 x 4000) is then decoded at an eighth of its size.
_SHORTER_SIDE = 448
# Features or thumbnails of more than this many bytes are kept in a file.
_MEMORY = 1 << 28


@dataclass(frozen=True)
class FolderFeatures:
    """The images of a folder and their features.

    Attributes:
        paths: of the images, sorted.
        features: (n, d) unit rows, NaN for a file that could not be read.
        unreadable: such files, and the reasons.
        thumbnails: of the images, to tell copies by; None if they were not asked for.
    """

    paths: tuple[Path, ...]
    features: Tensor
    unreadable: tuple[tuple[Path, str], ...]
    thumbnails: CopyThumbnails | None = None


def measure_folder(
    paths: Sequence[Path], space: FeatureSpace, progress: Progress | None = None, *, thumbnails: bool = False
) -> FolderFeatures:
    """Features of every image.

    Args:
        paths: of the images.
        space: of images.
        progress: called after every batch.
        thumbnails: whether to keep what copies are told by.
    """
    features = _storage((len(paths), space.dimension), np.float32, np.nan)
    kept = CopyThumbnails.stored(_storage((len(paths), 3, SIDE, SIDE), np.uint8, 0)) if thumbnails else None
    unreadable: list[tuple[Path, str]] = []
    done = 0

    def measured(batch: tuple[list[int], list[Tensor]]) -> None:
        rows, levels = batch
        images = torch.stack(levels).to(torch.float32).div_(255)
        with torch.no_grad():
            features[rows] = space(images).to("cpu", torch.float32)
            if kept is not None:
                kept.put(rows, images)

    for (rows, _), finished in work_ahead(_batches(paths, unreadable), measured):
        finished()
        done = rows[-1] + 1
        if progress is not None:
            progress(done, len(paths))
    if progress is not None and done < len(paths):
        progress(len(paths), len(paths))
    return FolderFeatures(tuple(paths), features, tuple(unreadable), kept)


def _batches(paths: Sequence[Path], unreadable: list[tuple[Path, str]]) -> Iterator[tuple[list[int], list[Tensor]]]:
    """Indices and images (3, H, W), uint8, of consecutive readable files of the same size."""
    rows: list[int] = []
    images: list[Tensor] = []
    for row, (path, image) in enumerate(read_ahead(paths, _read)):
        if isinstance(image, ImageFileError):
            unreadable.append((path, str(image)))
            continue
        full = len(rows) == _BATCH or (len(rows) + 1) * image[0].numel() > _BATCH_PIXELS
        if rows and (full or image.shape != images[0].shape):
            yield rows, images
            rows, images = [], []
        rows.append(row)
        images.append(image)
    if rows:
        yield rows, images


def _read(path: Path) -> Tensor:
    return as_levels(read_image(path, _SHORTER_SIDE))


def _storage(shape: tuple[int, ...], dtype: type[np.generic], fill: float) -> Tensor:
    """A filled tensor, in memory or, if it is large, in a temporary file."""
    values: np.ndarray[tuple[int, ...], np.dtype[np.generic]]
    if math.prod(shape) * np.dtype(dtype).itemsize <= _MEMORY:
        return torch.from_numpy(np.full(shape, fill, dtype=dtype))
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the map keeps it open and its end removes it
    values = np.memmap(file, dtype=dtype, mode="w+", shape=shape)
    if fill != 0:
        for start in range(0, len(values), 4096):
            values[start : start + 4096] = fill
    return torch.from_numpy(values)
