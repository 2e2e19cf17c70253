"""Mutated image files of every format: the reader gives an image or its own error, whatever it meets."""

from __future__ import annotations

import io
import random
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from diversity_guidance.features.colour_layout import ColourLayout
from diversity_guidance.features.exemplar_files import find_exemplars, read_exemplars
from diversity_guidance.features.image_files import ImageFileError, read_image
from diversity_guidance.features.image_folder import find_images
from diversity_guidance.indexing.sources import Fitted, ImageFiles, Passed
from diversity_guidance.metrics.measured_folder import measure_folder
from PIL import Image, features

SHORT, LONG = 40, 1100
"""Mutations of each seed file: a few hundred in all, and 20,000 in a campaign."""

WIDTH, HEIGHT = 24, 20


def seeds() -> dict[str, bytes]:
    """Small files of every format that Pillow here writes and the reader reads, plain and odd."""
    levels = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 4), dtype=np.uint8)
    colour, alpha = Image.fromarray(levels[..., :3]), Image.fromarray(levels)
    deep = Image.fromarray(levels[..., 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds: dict[str, tuple[Image.Image, str, dict[str, object]]] = {
        "png": (alpha, "PNG", {"exif": exif.tobytes()}),
        "palette.png": (colour.convert("P"), "PNG", {"transparency": 3}),
        "deep.png": (deep, "PNG", {}),
        "apng": (alpha, "PNG", {"save_all": True, "append_images": [alpha.rotate(90)]}),
        "jpg": (colour, "JPEG", {"exif": exif.tobytes()}),
        "progressive.jpg": (colour.convert("CMYK"), "JPEG", {"progressive": True}),
        "webp": (colour, "WEBP", {"exif": exif.tobytes()}),
        "lossless.webp": (alpha, "WEBP", {"lossless": True}),
        "gif": (colour, "GIF", {"save_all": True, "append_images": [colour.rotate(90)]}),
        "bmp": (colour, "BMP", {}),
        "tif": (alpha, "TIFF", {"compression": "tiff_lzw"}),
        "float.tif": (Image.fromarray(levels[..., 0].astype(np.float32) / 255), "TIFF", {}),
        "jpeg.tif": (colour, "TIFF", {"compression": "jpeg"}),
        "ico": (alpha, "ICO", {"sizes": [(16, 16)]}),
        "ppm": (colour, "PPM", {}),
        "pgm": (deep, "PPM", {}),
        "jp2": (colour, "JPEG2000", {}),
        "qoi": (alpha, "QOI", {}),
    }
    if features.check("avif"):
        kinds["avif"] = (alpha, "AVIF", {"exif": exif.tobytes()})
    files = {}
    for name, (image, kind, options) in kinds.items():
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        files[name] = stream.getvalue()
    return files


def mutated(data: bytes, choose: random.Random) -> bytes:
    """Some bytes changed, cut out, doubled, moved or cut off: headers, where most decoders break, most often."""
    changed = bytearray(data)
    for _ in range(choose.choice((1, 1, 2, 4, 16))):
        end = len(changed) if choose.random() < 0.5 else min(64, len(changed))
        place = choose.randrange(max(1, end))
        match choose.randrange(6):
            case 0:
                changed[place : place + 1] = bytes([choose.randrange(256)])
            case 1:
                changed[place : place + 4] = choose.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"))
            case 2:
                del changed[place : place + choose.randrange(1, 32)]
            case 3:
                changed[place:place] = changed[place : place + choose.randrange(1, 32)]
            case 4:
                changed[place:place] = choose.randbytes(choose.randrange(1, 16))
            case _:
                del changed[max(1, place) :]
    return bytes(changed)


def mutations(count: int) -> Iterator[tuple[str, bytes]]:
    for name, data in seeds().items():
        choose = random.Random(name)
        for number in range(count):
            yield f"{number} {name}", mutated(data, choose)


def check(folder: Path, count: int) -> None:
    """The reader alone, in both ways to call it: anything but an image and its own error fails the test."""
    read = refused = 0
    for name, data in mutations(count):
        path = folder / name.rpartition(" ")[2]
        path.write_bytes(data)
        for shorter_side in (None, 8):
            try:
                image = read_image(path, shorter_side)
            except ImageFileError as error:
                assert str(error) and "\n" not in str(error), name
                refused += 1
            else:
                assert image.mode == "RGB" and min(image.size) > 0, name
                read += 1
    assert read > count and refused > count, f"{read} read and {refused} refused: the mutations are too weak or strong"


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Headers that lie about sizes cost no time here, and what decoders warn of is no failure."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1 << 20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_every_seed_is_read(tmp_path: Path) -> None:
    for name, data in seeds().items():
        (tmp_path / name).write_bytes(data)
    assert {read_image(path).mode for path in find_images(tmp_path).paths} == {"RGB"}
    assert len(find_images(tmp_path).paths) == len(seeds())


def test_mutated_files(tmp_path: Path) -> None:
    check(tmp_path, SHORT)


@pytest.mark.campaign
def test_very_many_mutated_files(tmp_path: Path) -> None:
    check(tmp_path, LONG)


def test_every_reader_goes_on_past_damaged_files(tmp_path: Path) -> None:
    """The report, an index and exemplars; all that lies there is told."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name, data in mutations(4):
        (folder / name).write_bytes(data)
    found = find_images(folder)
    names = set(found.names()) | {name for name, _ in found.passed_over}
    assert names == {path.name for path in folder.iterdir()}
    measured = measure_folder(found.paths, ColourLayout())
    bad = {path.name for path, _ in measured.unreadable}
    assert 0 < len(bad) < len(found.paths)
    rows = [row for row, path in enumerate(found.paths) if path.name not in bad]
    assert bool(torch.isfinite(measured.features[rows]).all())
    passed = Passed()
    parts = list(ImageFiles(found, Fitted(8, 8, lambda images: images)).parts(passed, lambda done, total: None))
    assert {name for name, _ in passed.unreadable} == bad
    assert sum(len(part.names) for part in parts) + passed.repeated + len(bad) == len(found.paths)
    with pytest.raises(ValueError, match=r"The exemplar .+ cannot be read: .+ Remove it\."):
        read_exemplars(find_exemplars(tmp_path, "images", 1000))
