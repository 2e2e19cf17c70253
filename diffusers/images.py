"""Images for a pipeline's own VAE: real examples, folders of protected images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..features.image_files import as_tensor, read_image
from ..features.image_folder import find_images
from ..indexing.build import build
from ..indexing.sources import Fitted, ImageFiles
from ..stores.exemplar_set import ExemplarSet
from ..stores.protected.index import ProtectedIndex
from ..stores.protected.spaces import latent_space as index_space
from .families import family_of
from .latent_space import latent_space
from .layouts import FLUX_2

Images = Sequence[Image.Image | Path | str]
"""Images, or their files."""


def encode_images(pipe: Any, images: Tensor) -> Tensor:
    """Raw VAE latents of images, in the layout that ComfyUI has.

    Args:
        pipe: the pipeline.
        images: (B, 3, H, W) in 0..1.

    Returns:
        (B, C, ...), float32, on the CPU.

    Raises:
        ValueError: the pipeline is of no known family.
    """
    family, vae = family_of(pipe), pipe.vae
    given = images.to(vae.device, vae.dtype) * 2 - 1
    with_frames = family.latent_format.startswith("Wan")
    with torch.no_grad():
        found = vae.encode(given.unsqueeze(2) if with_frames else given)
        latents: Tensor = found.latent_dist.mode() if hasattr(found, "latent_dist") else found.latents
        if family.layout is FLUX_2:
            folded = torch.pixel_unshuffle(latents, 2)
            deviations = (vae.bn.running_var + vae.config.batch_norm_eps).sqrt()
            latents = (folded - vae.bn.running_mean.view(-1, 1, 1)) / deviations.view(-1, 1, 1)
    return latents.float().cpu()


def exemplars(pipe: Any, images: Images) -> ExemplarSet:
    """Real images to stay near, with their latents.

    Args:
        pipe: the pipeline.
        images: Pillow images, or paths of files.

    Raises:
        ValueError: there is no image, a file cannot be read, or the pipeline is of no known family.
    """
    tensors = [as_tensor(image.convert("RGB")) for image in _opened(images)]
    whole = tuple((tensor * 255).round().to(torch.uint8) for tensor in tensors)
    latents = [encode_images(pipe, _cropped(tensor)[None])[0] for tensor in tensors]
    return ExemplarSet(whole).with_latents(latents, latent_space(pipe.vae, family_of(pipe).latent_format).name)


def protect_folder(pipe: Any, folder: Path | str, index: Path | str, *, height: int, width: int) -> ProtectedIndex:
    """The Protected Index of a folder of images; only files that are new are encoded.

    Args:
        pipe: the pipeline, whose VAE encodes the images.
        folder: of the images, subfolders included.
        index: folder of the index; made if it does not exist.
        height: of the images that will be sampled, in pixels; protected ones are cropped and scaled to it.
        width: as ``height``.

    Raises:
        ValueError: there is no image to protect, the index is of another VAE or size, or the pipeline is of no known
            family.
    """
    space = latent_space(pipe.vae, family_of(pipe).latent_format)
    fitted = Fitted(width, height, lambda images: encode_images(pipe, images))
    source = ImageFiles(find_images(Path(folder)), fitted)
    build(Path(index), index_space(space.name, space.encoder), source, lambda done, total: None)
    return ProtectedIndex.open(Path(index))


def _opened(images: Images) -> Iterable[Image.Image]:
    return (image if isinstance(image, Image.Image) else read_image(Path(image)) for image in images)


def _cropped(image: Tensor) -> Tensor:
    """An image whose sides are multiples of 16, as every VAE takes them."""
    height, width = (length // 16 * 16 for length in image.shape[-2:])
    return image[:, :height, :width]
