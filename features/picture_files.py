"""Image files: found in a folder, and decoded as a viewer shows them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

SUFFIXES = frozenset({".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
"""Endings of the files that are taken for pictures, in any case."""

UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
"""What Pillow raises on files that are damaged, empty, something else or too large to be a picture."""

Progress = Callable[[int, int], None]
"""Told (pictures done, pictures in all)."""


def find_pictures(folder: Path) -> list[Path]:
    """All picture files in a folder and its subfolders, sorted; hidden ones are passed over.

    Raises:
        ValueError: there is no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise ValueError(f"There is no folder {folder}.")
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )
    if not found:
        raise ValueError(f"{folder} holds no pictures ({', '.join(sorted(SUFFIXES))}).")
    return found


def read_picture(path: Path) -> Image.Image:
    """Decode a picture as a viewer shows it: upright, its first frame, transparency on white.

    Raises:
        OSError: and the others of ``UNREADABLE``.
    """
    with Image.open(path) as file:
        picture = ImageOps.exif_transpose(file)
        if picture.mode.startswith("I;16") or picture.mode == "I":
            # Pillow cuts 16-bit greys off at 255 instead of scaling them.
            levels = np.asarray(picture, dtype=np.float64) / 257
            picture = Image.fromarray(levels.clip(0, 255).astype(np.uint8))
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            page = Image.new("RGBA", picture.size, "white")
            page.alpha_composite(picture)
            picture = page
        return picture.convert("RGB")


def as_tensor(picture: Image.Image) -> Tensor:
    """An RGB image as values in 0..1, shape (3, H, W)."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).to(torch.float32) / 255
