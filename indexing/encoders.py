"""Image encoders without ComfyUI: the embedded model's autoencoder, or a feature space; and folders encoded by them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from ..embedded.latent_space import LATENT_FORMAT, autoencoder_fingerprint
from ..features.image_folder import FoundFiles, find_images
from ..features.named import CLIP_PREFIX, SPACE_NAMES, image_space
from ..features.space import FeatureSpace
from ..stores.protected.spaces import feature_space, latent_space
from .sources import Encode, Fitted, ImageFiles

LATENTS = "latents"
CHOICES = (
    f"{LATENTS} (of the embedded model), {', '.join(SPACE_NAMES)} or {CLIP_PREFIX}FOLDER of a model of open_clip or "
    "transformers"
)

SIZE, FEATURE_SIZE = 64, 256
"""Width and height of images in pixels: for the embedded model, and enough for any feature space."""


class Encoder(NamedTuple):
    """An image encoder.

    Attributes:
        space: of the vectors.
        encode: images (B, 3, H, W) in 0..1 to vectors (B, ...).
    """

    space: str
    encode: Encode


def image_encoder(name: str) -> Encoder:
    """The encoder of a name: ``latents``, or a feature space.

    Raises:
        ValueError: an unknown name, a folder without a model, or a library that is not installed.
    """
    if name == LATENTS:
        try:
            # Features need no diffusers.
            from ..embedded.autoencoder import load_autoencoder
        except ModuleNotFoundError as error:
            raise ValueError(
                f'{error.name} is not installed: pip install "diversity-guidance[demo]" brings it.'
            ) from error
        return Encoder(latent_space(LATENT_FORMAT, autoencoder_fingerprint()), load_autoencoder().encode)
    space = image_space(name)
    return Encoder(feature_space(space.tag), lambda images: _features(space, images))


def _features(space: FeatureSpace, images: Tensor) -> Tensor:
    return space(images).detach()


@dataclass(frozen=True)
class FolderEncoding:
    """A folder and its encoder, as sent to workers on other machines.

    Attributes:
        root: the folder.
        encoder: name of the encoder, see ``image_encoder``.
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
