"""How a folder of images is encoded; sent to workers on other machines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..features.image_folder import FoundFiles, find_images
from .encoders import image_encoder
from .sources import Fitted, ImageFiles


@dataclass(frozen=True)
class FolderEncoding:
    """A folder and its encoder.

    Attributes:
        root: the folder.
        encoder: name of the encoder, see ``encoders.image_encoder``.
        size: width and height of the images in pixels.
        batch: images encoded at once.
    """

    root: Path
    encoder: str
    size: int
    batch: int

    def find(self) -> FoundFiles:
        """The folder's images.

        Raises:
            ValueError: there is no such folder, or no image in it.
        """
        return find_images(self.root)

    def source(self, folder: FoundFiles) -> tuple[str, ImageFiles]:
        """Space of the vectors, and their source.

        Raises:
            ValueError: there is no such encoder.
        """
        space, encode = image_encoder(self.encoder)
        return space, ImageFiles(folder, Fitted(self.size, self.size, encode, self.batch))
