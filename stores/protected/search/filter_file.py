"""The filter of a Protected Index as a file: plain arrays, checked as a whole before any is used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import safetensors.numpy

from ....kernels.shields.projection_bounds import Projection
from ...files import digest_of, write_named
from ..rows import read_whole
from .coarse import CoarseTable
from .projection_filter import IndexFilter

SUFFIX = ".filter"


def write_filter(folder: Path, values: IndexFilter) -> str:
    """Write a filter and return its digest; the same filter makes the same file.

    Raises:
        OSError: the file could not be written.
    """
    data = safetensors.numpy.save(
        {
            "centre": values.projection.centre,
            "basis": values.projection.basis,
            "numbers": values.coarse.numbers,
            "first": values.coarse.first,
            # The last column is one of the first table's.
            "second": np.ascontiguousarray(values.coarse.second[:, :-1]),
            "fine": values.fine,
            "scale_and_reach": np.array([values.scale, values.coarse.reach]),
        }
    )
    digest = digest_of(data)
    write_named(filter_path(folder, digest), digest, data)
    return digest


def read_filter(folder: Path, digest: str) -> IndexFilter:
    """Read a filter.

    Raises:
        IndexDamagedError: the file is missing or not what was written.
    """
    tensors = safetensors.numpy.load(read_whole(filter_path(folder, digest), digest))
    scale, reach = tensors["scale_and_reach"].tolist()
    projection = Projection(tensors["centre"], tensors["basis"])
    second = np.concatenate([tensors["second"], tensors["first"][:, -2:-1]], axis=1)
    coarse = CoarseTable(tensors["numbers"], tensors["first"], second, reach)
    return IndexFilter(projection, coarse, tensors["fine"], scale)


def filter_path(folder: Path, digest: str) -> Path:
    """The file of a filter."""
    return folder / (digest + SUFFIX)
