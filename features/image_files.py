"""Decode image files as a viewer shows them. No other module opens one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .image_signatures import DECODER_PACKAGES, image_kind
from .work_ahead import work_ahead

FORMATS = (
    *("PNG", "JPEG", "MPO", "WEBP", "AVIF", "GIF", "BMP", "DIB", "TIFF", "ICO", "PPM", "JPEG2000", "QOI", "PSD"),
    *("HEIF", "JXL"),
)
"""Formats that are decoded. Those for which Pillow starts another program, such as EPS, are not."""

Progress = Callable[[int, int], None]
"""Called with (images done, images in total)."""

_T = TypeVar("_T")
# Blocks of 16 MB that Pillow keeps: usually none, and those of two images of 24 megapixels while files are read.
_BLOCKS, _BLOCKS_KEPT = Image.core.get_blocks_max(), 12
_ORIENTATION = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Possible white levels of files whose type does not define one: 8 bits, 16 bits, all bits.
_WHITE = {"I": (255.0, 65535.0, 2.0**31 - 1, 2.0**32 - 1), "F": (1.0, 255.0, 65535.0)}


class ImageFileError(ValueError):
    """A file cannot be read as an image. The message is the reason, without the file name."""


def read_image(path: Path, shorter_side: int | None = None) -> Image.Image:
    """Decode an image as a viewer shows it: upright, its first frame, transparency on white, in RGB.

    Args:
        path: of the file.
        shorter_side: in pixels; images at least twice as large are averaged over whole blocks of pixels, down to no
            less than this, which makes photographs much faster.

    Raises:
        ImageFileError: the file is missing, damaged, of an unknown format or too large.
    """
    try:
        return _decoded(path, shorter_side)
    except Exception as error:  # Decoders raise whatever they meet in a damaged file, from KeyError to MemoryError.
        raise ImageFileError(_reason(path, error)) from error


def read_texts(path: Path) -> dict[str, str]:
    """The texts in an image file, by keyword, such as the workflow that ComfyUI writes into a PNG.

    Raises:
        ImageFileError: as ``read_image``.
    """
    try:
        with _opened(path) as file:
            return {str(name): text for name, text in file.info.items() if isinstance(text, str)}
    except Exception as error:
        raise ImageFileError(_reason(path, error)) from error


def as_tensor(image: Image.Image) -> Tensor:
    """Convert an RGB image to values in 0..1, shape (3, H, W)."""
    return as_levels(image).to(torch.float32).div_(255)


def as_levels(image: Image.Image) -> Tensor:
    """Convert an RGB image to levels, uint8, shape (3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1)))


def read_ahead(
    paths: Sequence[Path], read: Callable[[Path], _T], workers: int | None = None
) -> Iterator[tuple[Path, _T | ImageFileError]]:
    """Read files in threads, some in advance, and yield the results in the order of the paths.

    Args:
        paths: of the files.
        read: called with each path, in any thread.
        workers: number of threads; by default one per processor, at most four.

    Yields:
        Each path and its result, or the ``ImageFileError`` that reading it raised.
    """
    with _memory_kept():
        for path, result in work_ahead(paths, read, workers):
            try:
                yield path, result()
            except ImageFileError as error:
                yield path, error


@contextmanager
def _memory_kept() -> Iterator[None]:
    """Let Pillow keep the memory of images for the next ones: to get it anew takes a sixth of decoding large PNGs."""
    Image.core.set_blocks_max(max(_BLOCKS, _BLOCKS_KEPT))
    try:
        yield
    finally:
        Image.core.set_blocks_max(_BLOCKS)


def _decoded(path: Path, shorter_side: int | None) -> Image.Image:
    with _opened(path) as file:
        if shorter_side is not None:
            file.draft(None, (shorter_side, shorter_side))
        file.load()
        turn = _TRANSPOSE.get(_orientation(file))
        image = _on_white(_eight_bits(file))
        image = image if image.mode == "RGB" else image.convert("RGB")  # which would copy 24 megapixels in vain
    if shorter_side is not None and (factor := min(image.size) // shorter_side) > 1:
        image = image.reduce(factor)
    return image if turn is None else image.transpose(turn)


def _opened(path: Path) -> Image.Image:
    Image.init()
    _register_plugins()
    return Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN])


def _register_plugins() -> None:
    """Register installed decoders for formats that Pillow cannot read."""
    if "HEIF" not in Image.OPEN:
        try:
            import pillow_heif  # pyright: ignore[reportMissingImports]
        except ImportError:
            return
        pillow_heif.register_heif_opener()


def _orientation(file: Image.Image) -> int:
    """The EXIF orientation; 1 if the EXIF block is damaged."""
    try:
        return int(file.getexif().get(_ORIENTATION, 1))
    except Exception:
        return 1


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale greys of 16 or 32 bits and floating-point greys to 8 bits; Pillow would clip them."""
    if not image.mode.startswith("I") and image.mode != "F":
        return image
    levels = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0.0, neginf=0.0)
    white = 65535.0 if image.mode.startswith("I;16") or image.format in ("PNG", "PPM") else _white(image, levels)
    return Image.fromarray((levels * (255 / white)).round().clip(0, 255).astype(np.uint8))


def _white(image: Image.Image, levels: np.ndarray) -> float:
    """The white level: the smallest of the usual ones that no pixel exceeds."""
    if image.mode == "I" and _is_unsigned(image):
        # Pillow reads the upper half of unsigned numbers as negative.
        levels[levels < 0] += 2.0**32
    brightest = float(levels.max(initial=0.0))
    return next((white for white in _WHITE[image.mode] if brightest <= white), brightest)


def _is_unsigned(image: Image.Image) -> bool:
    tags: Any = getattr(image, "tag_v2", None)
    return tags is not None and tuple(tags.get(339, (1,)))[:1] == (1,)


def _on_white(image: Image.Image) -> Image.Image:
    """Composite a transparent image on white."""
    if image.mode not in ("RGBA", "LA", "PA", "RGBa", "La") and "transparency" not in image.info:
        return image
    coloured = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
    page = Image.new("RGBA", coloured.size, "white")
    page.alpha_composite(coloured)
    return page


def _reason(path: Path, error: Exception) -> str:
    """Why a file could not be read, in one line."""
    if isinstance(error, MemoryError):
        return "too large for the memory there is"
    if isinstance(error, Image.UnidentifiedImageError):
        try:
            kind = image_kind(path)
        except OSError as failed:
            return failed.strerror or str(failed)
        if package := DECODER_PACKAGES.get(kind):
            return f"{kind} needs another decoder: pip install {package} brings it"
        return f"cannot identify image file: {'damaged ' + kind if kind else 'not an image'}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
