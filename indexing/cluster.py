"""Building an index on a Ray cluster: workers write separate builds, which are joined and published here.

All machines must see the images and the index's folder under the same paths. Every worker's build lies beside the
index until it is joined, so that a stopped build resumes without encoding anything again.
"""

from __future__ import annotations

import hashlib
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..features.image_folder import FoundFiles
from ..stores.protected.builder import IndexBuilder
from .build import (
    Outcome,
    collect,
    passed_before,
    publish,
)
from .encoders import FolderEncoding
from .sources import Passed, Progress

LOCAL = "local"
ANSWER_SECONDS = 5.0
"""Time limit for a connection to an address; Ray itself tries for a minute or more."""

MAX_TASKS, MIN_FILES = 64, 256
"""Many tasks keep all workers busy to the end, but joining each costs time."""


def build_on_cluster(folder: Path, encoding: FolderEncoding, address: str, progress: Progress) -> Outcome:
    """Create the index in a folder, or add to it, as ``build.build`` does.

    Args:
        folder: of the index.
        encoding: what to encode, and how.
        address: of the Ray cluster, or "local" to start one on this machine.
        progress: called with (images done, images in all).

    Raises:
        IndexSpaceError: the index there is of another space or shape.
        IndexWriteError: it cannot be written; it stays as it was.
        ValueError: Ray is not installed or cannot be reached, or there is nothing to protect.
    """
    found = encoding.find()
    paths = found.paths
    space, source = encoding.source(found)
    ray = _connected(address)
    try:
        with IndexBuilder(folder, space, source.shape()) as builder:
            passed = passed_before(builder)
            known = ray.put(frozenset(passed.known))
            encode = ray.remote(encode_part).options(num_cpus=1)
            size = max(MIN_FILES, -(-len(paths) // MAX_TASKS))
            groups = [paths[start : start + size] for start in range(0, len(paths), size)]
            waiting = [encode.remote(part_folder(folder, group), encoding, group, known) for group in groups]
            for number, (group, result) in enumerate(zip(groups, waiting, strict=True), start=1):
                # In order, so that the index does not depend on the number of workers.
                repeated, unreadable = ray.get(result)
                passed.repeated += repeated
                passed.unreadable += unreadable
                # Two workers may have encoded the same content.
                passed.repeated += builder.join(part_folder(folder, group)).repeated
                progress(min(number * size, len(paths)), len(paths))
            passed.passed_over += found.passed_over
            outcome = publish(builder, passed)
    except ray.exceptions.RayTaskError as error:
        # Without the worker's traceback.
        raise (error.cause if isinstance(error.cause, ValueError) else error) from error
    finally:
        ray.shutdown()
    shutil.rmtree(_parts(folder), ignore_errors=True)
    return outcome


def encode_part(
    folder: Path, encoding: FolderEncoding, paths: Sequence[Path], known: frozenset[str]
) -> tuple[int, list[tuple[str, str]]]:
    """One worker's task: encode some images into a separate build, or resume it.

    Returns:
        The number of known or repeated images, and the unreadable files.
    """
    torch.set_num_threads(1)
    space, source = encoding.source(FoundFiles(encoding.root, tuple(paths), ()))
    with IndexBuilder(folder, space, source.shape()) as builder:
        begun = set(builder.labels().keys)
        passed = Passed({*known, *begun}, begun)
        collect(builder, source, passed, lambda done, total: None, lambda: False)
        return passed.repeated, passed.unreadable


def part_folder(folder: Path, paths: Sequence[Path]) -> Path:
    """Folder of the build of these files: beside the index, and the same after a stop."""
    told = "\n".join(path.as_posix() for path in paths).encode(errors="surrogateescape")
    return _parts(folder) / hashlib.sha256(told).hexdigest()[:16]


def _parts(folder: Path) -> Path:
    return folder.parent / f"{folder.name}.parts"


def _connected(address: str) -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ValueError('Ray is not installed: pip install "diversity-guidance[distributed]" brings it.') from error
    try:
        if address == LOCAL:
            ray.init(address=LOCAL, include_dashboard=False, log_to_driver=False)
        else:
            _require_answer(address)
            ray.init(address=address, log_to_driver=False)
    except (OSError, OverflowError, ValueError) as error:
        raise ValueError(f"The Ray cluster at {address} cannot be reached ({error}): check its address.") from error
    return ray


def _require_answer(address: str) -> None:
    """Raise OSError or OverflowError if nothing answers at ``host:port``; leave addresses such as "auto" to Ray."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
