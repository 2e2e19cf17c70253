"""The file of a Protected Index's filter: plain arrays, validated before use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import safetensors.numpy

from ....kernels.shields.projection_bounds import Projection
from ...files import digest_of, write_named
from ..errors import damaged
from ..rows import HEADER_BYTES, read_tensors
from .projection_filter import ProjectionFilter

SUFFIX = ".filter"


def write_filter(folder: Path, values: ProjectionFilter) -> str:
    """Write a filter and return its digest; equal filters give equal files.

    Raises:
        OSError: the file could not be written.
    """
    projection = values.projection
    data = safetensors.numpy.save({"centre": projection.centre, "basis": projection.basis, "table": values.table})
    digest = digest_of(data)
    write_named(filter_path(folder, digest), digest, data)
    return digest


def read_filter(folder: Path, digest: str, count: int, width: int) -> ProjectionFilter:
    """Read the filter of ``count`` references of ``width`` values.

    Raises:
        IndexDamagedError: the file is missing, damaged, or of other references.
    """
    path = filter_path(folder, digest)
    # The table has up to 98 numbers per reference, the basis 96 per value of a vector.
    tensors = read_tensors(path, digest, HEADER_BYTES + 512 * (count + width))
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    m = shapes.get("basis", (0,))[0]
    if shapes != {"centre": (width,), "basis": (m, width), "table": (count, m + 2)}:
        raise damaged(path, "is of other references than the index")
    if not all(tensor.dtype.kind == "f" and np.isfinite(tensor).all() for tensor in tensors.values()):
        raise damaged(path, "holds numbers that are not finite")
    return ProjectionFilter(Projection(tensors["centre"], tensors["basis"]), tensors["table"])


def filter_path(folder: Path, digest: str) -> Path:
    """The file of a filter."""
    return folder / (digest + SUFFIX)
