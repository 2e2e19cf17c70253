"""How fast folders are measured, and in how much memory."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ...features.image_folder import find_images
from ...features.named import image_space
from ...metrics.measured_folder import measure_folder
from ...metrics.report import measure
from ..peak_memory import peak_bytes

PHOTOGRAPH = (6000, 4000)
SMALL = (256, 256)


class Speed(NamedTuple):
    """One folder measured.

    Attributes:
        images: number of images.
        seconds: of reading and measuring all, without the start of the process.
        comparing: of these, seconds of computing the scores and looking for near-duplicates.
        reading: seconds of processor time of reading and measuring all, over all cores, whatever else runs.
        peak: most memory held, in bytes.
    """

    images: int
    seconds: float
    comparing: float
    reading: float
    peak: int


def make_folder(folder: Path, count: int, size: tuple[int, int], ending: str, different: int) -> None:
    """Write photograph-like images: structure of all sizes and the noise of a sensor.

    Args:
        folder: that is made.
        count: of files.
        size: width and height.
        ending: of the files, such as "jpg".
        different: contents that differ; further files are copies of these.
    """
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    contents = []
    for number in range(count):
        path = folder / f"{number:05}.{ending}"
        if number >= different:
            path.write_bytes(contents[number % different])
            continue
        levels = 6 * random.standard_normal((size[1], size[0], 3), np.float32)
        for cells, spread in ((8, 40), (64, 25), (512, 10)):
            if cells > max(size):
                continue
            coarse = spread * random.standard_normal((cells, cells, 3), np.float32)
            for channel in range(3):
                levels[..., channel] += np.asarray(Image.fromarray(coarse[..., channel]).resize(size))
        Image.fromarray((128 + levels).clip(0, 255).astype(np.uint8)).save(path, quality=92)
        contents.append(path.read_bytes())


def measured_speed(folder: Path, space: str) -> Speed:
    """Measure a folder in a process of its own, so that the memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (folder, space))


def _measured(folder: Path, name: str) -> Speed:
    space = image_space(name)
    start, used = time.perf_counter(), time.process_time()
    found = measure_folder(find_images(folder).paths, space, thumbnails=True)
    read, used = time.perf_counter(), time.process_time() - used
    measure(found.features, space.tag, duplicate_distance=space.duplicate_distance, thumbnails=found.thumbnails)
    end = time.perf_counter()
    return Speed(len(found.paths), end - start, end - read, used, peak_bytes())
