"""Read all images of a folder as exemplars, or raise an error that names the unreadable one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .image_files import ImageFileError, read_ahead, read_image
from .image_folder import FoundFiles, find_images, folder_below

LONGEST_SIDE = 1024
"""Larger images are scaled down to this; feature spaces use less."""


def find_exemplars(root: Path, name: str, max_count: int) -> FoundFiles:
    """The images of the folder ``name`` below ``root``, sorted by name, without those of subfolders.

    Raises:
        ValueError: the folder is not below the root, does not exist, or holds no image or more than ``max_count``.
    """
    found = find_images(folder_below(root, name), within=root, subfolders=False)
    if len(found.paths) > max_count:
        raise ValueError(
            f'The exemplar folder "{name}" holds {len(found.paths)} images, and {max_count} are the most: move some.'
        )
    return found


def read_exemplars(found: FoundFiles) -> tuple[Tensor, ...]:
    """Each image as (3, H, W), uint8, at most ``LONGEST_SIDE`` on a side.

    Raises:
        ValueError: one cannot be read.
    """
    images: list[Tensor] = []
    for path, image in read_ahead(found.paths, _read):
        if isinstance(image, ImageFileError):
            raise ValueError(f"The exemplar {found.name(path)} cannot be read: {image}. Remove it.") from image
        images.append(torch.from_numpy(np.array(image)).movedim(-1, 0).contiguous())
    return tuple(images)


def _read(path: Path) -> Image.Image:
    image = read_image(path, LONGEST_SIDE)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return image
