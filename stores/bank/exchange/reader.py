"""Read an exported Memory Bank: checked as a whole first, then row by row. It may come from a stranger."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ...files import open_own
from ..entries import FEATURES, LATENTS, THUMBNAILS, BankEntry, NewEntry, prepare_entries
from ..records import FlawError, read_entry
from ..shards import SHARD_BYTES
from .layout import (
    CHECKSUM,
    ENTRIES,
    FORMAT,
    HEADER_BYTES,
    NO_CHECKSUM,
    TABLE_BYTES,
    VERSION,
    ArchiveError,
    checksum_place,
)

READ_AT_ONCE = 2**20
MAX_AT_ONCE = 64
"""Images of a batch."""

Progress = Callable[[int, int], None]


class Contents(NamedTuple):
    """An image of the file.

    Attributes:
        entry: its metadata.
        parts: tensor and row of each part, by name.
    """

    entry: BankEntry
    parts: dict[str, tuple[str, int]]


@dataclass(frozen=True)
class Archive:
    """An exported bank whose checksum is right.

    Attributes:
        path: of the file.
        name: of the bank that was exported.
        revision: that was exported.
        digest: of that revision, see ``BankSnapshot.digest``.
        latent_format: of all images; "" without any.
        encoder: fingerprint of their VAE; "" where unknown.
        images: in order.
        shapes: of the tensors, by name, rows first.
    """

    path: Path
    name: str
    revision: str
    digest: str
    latent_format: str
    encoder: str
    images: tuple[Contents, ...]
    shapes: Mapping[str, tuple[int, ...]]

    def batches(self, progress: Progress = lambda done, total: None) -> Iterator[list[NewEntry]]:
        """The images, some at a time; those of a batch have parts of the same shapes.

        Raises:
            ArchiveError: an image is not what its id says.
            OSError: the file cannot be read.
        """
        done = 0
        with _opened(self.path) as file:
            for group in self._groups():
                yield self._batch(file, group)
                done += len(group)
                progress(done, len(self.images))

    def _groups(self) -> Iterator[list[Contents]]:
        group: list[Contents] = []
        kind: object = None
        for image in self.images:
            found = {name: self.shapes[tensor][1:] for name, (tensor, _) in image.parts.items()}
            size = sum(prod(shape) for shape in found.values()) * 4
            full = len(group) == MAX_AT_ONCE or (len(group) + 1) * size > SHARD_BYTES
            key = found, image.entry.prompt is None
            if group and (full or key != kind):
                yield group
                group = []
            group.append(image)
            kind = key
        if group:
            yield group

    def _batch(self, file: Any, group: Sequence[Contents]) -> list[NewEntry]:
        columns = {name: torch.stack([_row(file, *image.parts[name]) for image in group]) for name in group[0].parts}
        entries = [image.entry for image in group]
        try:
            found = prepare_entries(
                columns[LATENTS],
                latent_format=self.latent_format,
                prompts=[entry.prompt for entry in entries],
                seeds=[entry.seed for entry in entries],
                thumbnails=columns.get(THUMBNAILS),
                features={name[len(FEATURES) :]: rows for name, rows in columns.items() if name.startswith(FEATURES)},
                encoder=self.encoder,
            )
        except ValueError as error:
            raise _unfit(self.path, str(error)) from error
        if any(new.id != entry.id for new, entry in zip(found, entries, strict=True)):
            raise _unfit(self.path, "an image is not the one that its id names.")
        return [
            replace(new, created=entry.created, pinned=entry.pinned) for new, entry in zip(found, entries, strict=True)
        ]


def open_archive(path: Path, progress: Progress = lambda done, total: None) -> Archive:
    """Check an export, and read its table of images.

    Args:
        path: of the file.
        progress: told (bytes checked, bytes in all).

    Raises:
        ArchiveError: it is no export, of a newer version, cut short, changed, or holds what no bank writes.
        OSError: it cannot be read.
    """
    metadata = _checked(path, progress)
    with _opened(path) as file:
        names = set(file.keys())
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
        if ENTRIES not in names or len(shapes[ENTRIES]) != 1 or shapes[ENTRIES][0] > TABLE_BYTES:
            raise _unfit(path, "it has no table of images.")
        text = file.get_tensor(ENTRIES)
    try:
        table = json.loads(text.numpy().tobytes())
        images = tuple(_images(table, metadata, shapes))
    except (FlawError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise _unfit(path, f"its table of images is invalid ({error}).") from error
    if len({image.entry.id for image in images}) != len(images):
        raise _unfit(path, "it holds an image twice.")
    name, revision, digest, latent_format, encoder = (
        metadata.get(key, "") for key in ("name", "revision", "digest", "latent_format", "encoder")
    )
    return Archive(path, name, revision, digest, latent_format, encoder, images, shapes)


def _checked(path: Path, progress: Progress) -> dict[str, str]:
    """The metadata of a whole, unchanged export."""
    with open_own(path) as file:
        total = os.fstat(file.fileno()).st_size
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 0 < length <= min(HEADER_BYTES, total):
            raise _unfit(path, "it is not a safetensors file of a bank.")
        head = start + file.read(length)
        metadata = _metadata(path, head[8:])
        checksum = metadata.get(CHECKSUM, "")
        place = checksum_place(head, checksum)
        digest = hashlib.sha256(head[:place] + NO_CHECKSUM.encode() + head[place + len(checksum) :])
        done = len(head)
        while piece := file.read(READ_AT_ONCE):
            digest.update(piece)
            done += len(piece)
            progress(done, total)
    if digest.hexdigest() != checksum:
        raise ArchiveError(
            f"The export {path} is not what was written: it was cut short or changed on its way. Copy it again from "
            "where it came from, or export the bank again."
        )
    return metadata


def _metadata(path: Path, text: bytes) -> dict[str, str]:
    try:
        found = json.loads(text).get("__metadata__")
    except (AttributeError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise _unfit(path, "it is not an exported bank.")
    version = str(found.get("version"))
    if version != str(VERSION):
        raise ArchiveError(
            f"The export {path} is of version {version[:12]}, and this version of the pack reads {VERSION}. Update the "
            "pack."
        )
    if not all(isinstance(value, str) for value in found.values()) or len(found.get(CHECKSUM, "")) != 64:
        raise _unfit(path, "its metadata are invalid.")
    return found


def _images(table: Any, metadata: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]) -> Iterator[Contents]:
    prompts = table["prompts"]
    for number, image in enumerate(table["images"], start=1):
        prompt = None if image["prompt"] is None else prompts[image["prompt"]]
        row = (
            *(image["id"], metadata.get("latent_format"), image["shape"], prompt, image["seed"], image["created"]),
            *(0, image["encoder"], image["pinned"]),
        )
        parts = {str(name): (tensor, row) for name, (tensor, row) in image["parts"].items()}
        for name, (tensor, place) in parts.items():
            known = name in (LATENTS, THUMBNAILS) or (name.startswith(FEATURES) and len(name) > len(FEATURES))
            if not known or not isinstance(place, int) or not 0 <= place < shapes[tensor][0]:
                raise FlawError(f"image {number} has an unknown part")
        if LATENTS not in parts:
            raise FlawError(f"image {number} has no latents")
        yield Contents(read_entry(number, row), parts)


def _row(file: Any, tensor: str, row: int) -> Tensor:
    return file.get_slice(tensor)[row : row + 1][0]


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        file = safe_open(path, "pt")
    except SafetensorError as error:
        raise _unfit(path, f"it cannot be read as safetensors ({error}).") from error
    with file as opened:
        yield opened


def _unfit(path: Path, why: str) -> ArchiveError:
    return ArchiveError(
        f"{path} cannot be imported: {why} Give a file that diversity-guidance bank export wrote, or a folder of "
        "images."
    )
