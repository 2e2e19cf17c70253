"""A folder of pictures and how they are encoded: all that a worker on another machine needs to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .encoders import picture_encoder
from .sources import Fitted, PictureFiles


@dataclass(frozen=True)
class PictureFolder:
    """What to encode, and how.

    Attributes:
        root: the folder.
        encoder: name of the encoder, see ``encoders.picture_encoder``.
        size: width and height of the pictures in pixels.
        batch: pictures encoded at once.
    """

    root: Path
    encoder: str
    size: int
    batch: int

    def source(self, paths: Sequence[Path]) -> tuple[str, PictureFiles]:
        """Space of the vectors, and the source that makes them of these files below the folder.

        Raises:
            ValueError: there is no such encoder.
        """
        space, encode = picture_encoder(self.encoder)
        return space, PictureFiles(paths, self.root, Fitted(self.size, self.size, encode, self.batch))
