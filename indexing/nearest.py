"""How near finished pictures are to protected ones, which an index of features can tell too."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from ..features.picture_files import UNREADABLE, find_pictures, read_picture
from ..stores.protected.errors import IndexSpaceError
from ..stores.protected.index import ProtectedIndex
from ..stores.protected.spaces import told
from .pictures import PictureFolder


@dataclass(frozen=True)
class Checked:
    """One picture and the protected one that is nearest.

    Attributes:
        picture: its path below the folder.
        distance: between their vectors; NaN where the picture cannot be read.
        protected: name of the protected picture, or why the picture cannot be read.
    """

    picture: str
    distance: float
    protected: str


def nearest_protected(index: ProtectedIndex, pictures: PictureFolder) -> Iterator[Checked]:
    """The nearest protected picture of every picture in a folder.

    Args:
        index: what is protected.
        pictures: the folder, to be encoded as the index was.

    Raises:
        IndexSpaceError: the index holds something else than these are encoded to.
        ValueError: there is no such folder or encoder, or nothing in one of them.
    """
    paths = find_pictures(pictures.root)
    space, source = pictures.source(paths)
    if (space, source.shape()) != (index.space, index.shape):
        raise IndexSpaceError(
            f"The index holds {told(index.space)} of shape {index.shape}, and these pictures become {told(space)} of "
            f"shape {source.shape()}: choose the space and size with which it was built."
        )
    for path in paths:
        name = path.relative_to(pictures.root).as_posix()
        try:
            picture = source.fitted.ready(read_picture(path))
        except UNREADABLE as error:
            yield Checked(name, math.nan, str(error))
            continue
        distances, numbers = index.nearest(source.fitted.encode(picture[None]), 1)
        yield Checked(name, float(distances), index.name(int(numbers)))
