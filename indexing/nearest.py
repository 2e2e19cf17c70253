"""How near finished images are to protected ones, which an index of features can tell too."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from ..features.image_files import ImageFileError, read_ahead
from ..stores.protected.errors import IndexSpaceError
from ..stores.protected.index import ProtectedIndex
from ..stores.protected.spaces import name_of
from .folder_encoding import FolderEncoding


@dataclass(frozen=True)
class Checked:
    """One image and the protected one that is nearest.

    Attributes:
        image: its path below the folder.
        distance: between their vectors; NaN where the image cannot be read.
        protected: name of the protected image, or why this one was not compared.
    """

    image: str
    distance: float
    protected: str


def nearest_protected(index: ProtectedIndex, encoding: FolderEncoding) -> Iterator[Checked]:
    """The nearest protected image of every image in a folder; what else lies there comes last.

    Args:
        index: what is protected.
        encoding: the folder, to be encoded as the index was.

    Raises:
        IndexSpaceError: the index holds something else than these are encoded to.
        ValueError: there is no such folder or encoder, or nothing in one of them.
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
