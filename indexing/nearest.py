"""Distances of finished images to protected ones."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from ..features.image_files import ImageFileError, read_ahead
from ..stores.protected.errors import IndexSpaceError
from ..stores.protected.index import ProtectedIndex
from ..stores.protected.spaces import name_of
from .encoders import FolderEncoding


@dataclass(frozen=True)
class Checked:
    """An image and its nearest protected image.

    Attributes:
        image: its path below the folder.
        distance: between their vectors; NaN if the image cannot be read.
        protected: name of the protected image, or why there is none.
    """

    image: str
    distance: float
    protected: str


def nearest_protected(index: ProtectedIndex, encoding: FolderEncoding) -> Iterator[Checked]:
    """The nearest protected image of every image in a folder; skipped files come last.

    Args:
        index: of the protected images.
        encoding: of the folder, the same as the index's.

    Raises:
        IndexSpaceError: the index has another space or shape.
        ValueError: there is no such folder or encoder, or the folder or index is empty.
    """
    folder = encoding.find()
    space, source = encoding.source(folder)
    if (space, source.shape()) != (index.space, index.shape):
        raise IndexSpaceError(
            f"The index holds {name_of(index.space)} of shape {index.shape}, and these images become {name_of(space)} "
            f"of shape {source.shape()}: choose the space and size with which it was built."
        )
    for path, image in read_ahead(folder.paths, source.fitted.read):
        name = folder.name(path)
        if isinstance(image, ImageFileError):
            yield Checked(name, math.nan, str(image))
            continue
        distances, numbers = index.nearest(source.fitted.encode(image[None]), 1)
        yield Checked(name, float(distances), index.name(int(numbers)))
    for name, reason in folder.passed_over:
        yield Checked(name, math.nan, f"passed over: {reason}")
