"""How near finished images are to protected ones, which an index of features can tell too."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..features.image_files import ImageFileError, read_ahead
from ..features.named import image_space
from ..guidance.repellency.settings import RepellencySettings
from ..kernels.scale import typical_distance
from ..stores.protected.errors import IndexSpaceError
from ..stores.protected.index import ProtectedIndex
from ..stores.protected.spaces import name_of
from .encoders import LATENTS, FolderEncoding


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


@dataclass(frozen=True)
class CheckedFolder:
    """All images of a folder, and what their distances mean.

    Attributes:
        images: nearest first; those that were not compared come last.
        space: in words.
        unrelated: distance between two unrelated images.
        limit: distance below which an image is too near.
        reason: of the limit.
    """

    images: tuple[Checked, ...]
    space: str
    unrelated: float
    limit: float
    reason: str

    @property
    def near(self) -> int:
        """Number of images below the limit."""
        return sum(checked.distance < self.limit for checked in self.images)


def nearest_protected(index: ProtectedIndex, encoding: FolderEncoding, limit: float | None = None) -> CheckedFolder:
    """The nearest protected image of every image in a folder, with what else lies there.

    Args:
        index: what is protected.
        encoding: the folder, to be encoded as the index was.
        limit: distance below which an image is too near; None for that of near-duplicates, or for latents the radius
            of shields at the defaults of Sparse Repellency.

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
    found: list[Checked] = []
    squares: list[float] = []
    for path, image in read_ahead(folder.paths, source.fitted.read):
        name = folder.name(path)
        if isinstance(image, ImageFileError):
            found.append(Checked(name, math.nan, str(image)))
            continue
        vectors = source.fitted.encode(image[None])
        distances, numbers = index.nearest(vectors, 1)
        found.append(Checked(name, float(distances), index.name(int(numbers))))
        if encoding.encoder == LATENTS:
            squares.append(typical_distance(vectors) ** 2)
    found.sort(key=lambda checked: (math.isnan(checked.distance), checked.distance))
    found += [Checked(name, math.nan, f"passed over: {reason}") for name, reason in folder.passed_over]
    unrelated, usual, reason = _scale(encoding.encoder, squares)
    if limit is not None:
        usual, reason = limit, "as asked for"
    return CheckedFolder(tuple(found), name_of(space), unrelated, usual, reason)


def _scale(encoder: str, squares: list[float]) -> tuple[float, float, str]:
    """Distance of unrelated images, the usual limit, and why it is that."""
    if encoder != LATENTS:
        return math.sqrt(2), image_space(encoder).duplicate_distance, "near-duplicates"
    unrelated = math.sqrt(sum(squares) / len(squares)) if squares else 0.0
    return unrelated, RepellencySettings().radius * unrelated, "inside a shield of the default radius"
