"""The faces of images in memory and in files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from ...features.faces.finder import FaceFinder, ImageFaces
from ...features.image_files import ImageFileError, Progress, as_tensor, read_ahead, read_image
from ..measures.subsample import sample_rows

MAX_IMAGES = 1000
"""Images of a set that faces are looked for in: some two minutes on one core."""

# Photographs are averaged down to this, in pixels, which is more than faces are looked for and compared at.
_SHORTER_SIDE = 768


def batch_faces(images: Sequence[Tensor], finder: FaceFinder, tick: Callable[[], None]) -> dict[int, ImageFaces]:
    """The faces of images, or of a random choice of ``MAX_IMAGES``, by index; without images that are not finite.

    Args:
        images: each (C, H, W) in 0 to 1; sizes may differ.
        finder: of faces.
        tick: called after every image.
    """
    found: dict[int, ImageFaces] = {}
    for row in sample_rows(len(images), MAX_IMAGES).tolist():
        if bool(images[row][:3].isfinite().all()):
            found[row] = finder(images[row])
        tick()
    return found


def folder_faces(paths: Sequence[Path], finder: FaceFinder, progress: Progress | None = None) -> dict[int, ImageFaces]:
    """The faces of image files, or of a random choice of ``MAX_IMAGES``, by index; without files that cannot be read.

    Args:
        paths: of the images.
        finder: of faces.
        progress: called after every image.
    """
    rows = sample_rows(len(paths), MAX_IMAGES).tolist()
    found: dict[int, ImageFaces] = {}
    read = read_ahead([paths[row] for row in rows], lambda path: as_tensor(read_image(path, _SHORTER_SIDE)))
    for done, (row, (_, image)) in enumerate(zip(rows, read, strict=True), 1):
        if not isinstance(image, ImageFileError):
            found[row] = finder(image)
        if progress is not None:
            progress(done, len(rows))
    return found
