"""Image files decoded as a viewer shows them, and one error for whatever is wrong with them."""

from __future__ import annotations

import struct
import threading
from pathlib import Path

import numpy as np
import pytest
from diversity_guidance.features.image_files import ImageFileError, read_ahead, read_image
from PIL import Image

RAMP = np.linspace(0, 1, 4096).reshape(64, 64)


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("grey16.png", (RAMP * 65535).astype(np.uint16)),
        ("grey16.tif", (RAMP * 65535).astype(np.uint16)),
        ("grey32.tif", (RAMP * (2**31 - 1)).astype(np.int32)),
        ("16 bits in 32.tif", (RAMP * 65535).astype(np.int32)),
        ("float.tif", RAMP.astype(np.float32)),
        ("float to 255.tif", (RAMP * 255).astype(np.float32)),
        ("float to 65535.tif", (RAMP * 65535).astype(np.float32)),
        ("deep.pgm", (RAMP * 65535).astype(np.uint16)),
    ],
)
def test_deep_greys_are_scaled_to_white(tmp_path: Path, name: str, values: np.ndarray) -> None:
    read = read_image(saved(tmp_path / name, Image.fromarray(values)))
    assert (read.mode, read.size) == ("RGB", (64, 64))
    assert np.abs(np.asarray(read).astype(int) - (RAMP * 255)[..., None]).max() <= 1


def test_unsigned_32_bits(tmp_path: Path) -> None:
    """Pillow takes their upper half for negative numbers."""
    values = (RAMP * (2**32 - 1)).astype(np.uint32).view(np.int32)
    path = saved(tmp_path / "a.tif", Image.fromarray(values))
    signed, unsigned = (struct.pack("<HHII", 339, 3, 1, kind) for kind in (2, 1))
    path.write_bytes(path.read_bytes().replace(signed, unsigned))
    read = read_image(path)
    assert np.abs(np.asarray(read)[..., 0].astype(int) - RAMP * 255).max() <= 1


def test_numbers_that_are_none_are_black(tmp_path: Path) -> None:
    values = RAMP.astype(np.float32)
    values[0, :3] = np.nan, np.inf, -np.inf
    read = np.asarray(read_image(saved(tmp_path / "a.tif", Image.fromarray(values))))
    assert not read[0, :3].any() and read[-1, -1].tolist() == [255, 255, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("shorter_side", [None, 8])
def test_every_orientation_is_upright(tmp_path: Path, orientation: int, shorter_side: int | None) -> None:
    upright = Image.new("RGB", (64, 32))
    upright.paste("red", (0, 0, 32, 16))
    upright.paste("lime", (32, 0, 64, 16))
    # How a camera that was held so stores it.
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    read = read_image(saved(tmp_path / "a.png", stored, exif=exif.tobytes()), shorter_side)
    assert read.size == ((64, 32) if shorter_side is None else (16, 8))
    at = read.size[0] // 4, read.size[1] // 4
    assert read.getpixel(at) == (255, 0, 0) and read.getpixel((3 * at[0], at[1])) == (0, 255, 0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"])
def test_every_mode_is_read(tmp_path: Path, mode: str) -> None:
    image = Image.new(mode, (6, 4))
    read = read_image(saved(tmp_path / ("a.png" if mode in ("1", "L", "LA", "P", "RGBA") else "a.tif"), image))
    assert (read.mode, read.size) == ("RGB", (6, 4))


def test_large_photographs_are_reduced_to_nearly_the_same(tmp_path: Path) -> None:
    coarse = np.random.default_rng(0).integers(0, 255, (8, 12, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((1200, 800), Image.Resampling.BICUBIC)
    for name in ("a.jpg", "a.png"):
        path = saved(tmp_path / name, image)
        small = read_image(path, 100)
        assert small.size == (150, 100)
        difference = np.asarray(small, dtype=float) - np.asarray(read_image(path).reduce(8), dtype=float)
        assert np.abs(difference).max() < 4
    assert read_image(tmp_path / "a.png", 401).size == (1200, 800), "never smaller than asked for"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        (b"", "not an image"),
        (b"not an image", "not an image"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "PNG"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "pip install pillow-heif"),
        (b"\xff\x0a" + bytes(40), "pip install pillow-jxl-plugin"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageFileError, match=reason):
        read_image(path)


def test_results_come_in_the_order_of_the_paths(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(20)]
    last_came_first = threading.Event()

    def read(path: Path) -> int:
        number = int(path.name)
        if number == 1:
            last_came_first.set()
        if number == 0:
            assert last_came_first.wait(60)
        if number % 5 == 3:
            raise ImageFileError("damaged")
        return number

    told = [(path, "x" if isinstance(each, ImageFileError) else each) for path, each in read_ahead(paths, read, 2)]
    assert told == [(path, "x" if number % 5 == 3 else number) for number, path in enumerate(paths)]


def test_an_error_of_our_own_is_not_taken_for_a_damaged_file(tmp_path: Path) -> None:
    def read(path: Path) -> int:
        raise KeyError(path)

    with pytest.raises(KeyError):
        list(read_ahead([tmp_path], read))


@pytest.mark.parametrize("stopped", [False, True])
def test_memory_is_kept_while_files_are_read(tmp_path: Path, stopped: bool) -> None:
    """Large images are decoded into the memory of those before them, which is given back at the end."""
    before = Image.core.get_blocks_max()
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path in paths:
        Image.new("RGB", (4, 4)).save(path)
    reading = read_ahead(paths, read_image)
    next(reading)
    assert Image.core.get_blocks_max() == max(before, 12)
    reading.close() if stopped else list(reading)
    assert Image.core.get_blocks_max() == before
