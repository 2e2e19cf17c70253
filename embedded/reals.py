"""The real pictures behind the embedded model and their known modes: vendor x skin tone x gender.

They are one atlas picture (tiles of 64 x 64 pixels, row by row) and a table of labels, both part of the package.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, features
from torch import Tensor

from .assets_path import asset
from .text import PAD, Vocabulary

ATLAS, TABLE = "reals.avif", "reals.json"
TILE = 64
COLUMNS = 64
# A generated picture counts as good when it is nearer to a real one than this share of what separates two concepts.
QUALITY_SHARE = 0.45


class Mode(NamedTuple):
    """What a prompt may leave open, "" where an attribute doesn't apply."""

    gender: str
    skin: str
    vendor: str


class Label(NamedTuple):
    """What is known of a real picture: words that a prompt may use, "" where an attribute doesn't apply."""

    concept: str
    gender: str
    skin: str
    vendor: str
    category: str

    @property
    def words(self) -> frozenset[str]:
        """Every word that describes the picture."""
        return frozenset(self.concept.split()) | frozenset(word for word in self[1:] if word)

    @property
    def mode(self) -> Mode:
        """The known mode that the picture belongs to."""
        return Mode(self.gender, self.skin, self.vendor)


def vocabulary_of(labels: Sequence[Label]) -> Vocabulary:
    """Every word of the labels, sorted, after the padding word."""
    return Vocabulary([PAD, *sorted(set().union(*(label.words for label in labels)))])


@dataclass(frozen=True)
class RealPictures:
    """Real pictures and their labels.

    Attributes:
        pixels: uint8, (N, 3, 64, 64).
        labels: one for each picture.
    """

    pixels: Tensor
    labels: Sequence[Label]

    @classmethod
    def load(cls, folder: Path | None = None) -> RealPictures:
        """The pictures stored as atlas and table in a folder (default: the embedded ones).

        Raises:
            ValueError: this Pillow reads no AVIF, or the atlas doesn't fit the table.
        """
        if not features.check("avif"):
            raise ValueError("The real images are an AVIF, which Pillow reads from version 11.3: update Pillow.")
        table, picture = (folder / name if folder else asset(name) for name in (TABLE, ATLAS))
        labels = unpack_labels(table.read_text(encoding="utf-8"))
        with Image.open(picture) as atlas:
            return cls(cut_atlas(atlas, len(labels)), labels)

    def matching(self, prompt: str) -> Tensor:
        """Indices, int64, of the pictures that have all known words of the prompt; the model reads no others either.

        Raises:
            ValueError: no picture has them.
        """
        numbers, _ = self._vocabulary.parse(prompt)
        words = {self._vocabulary.words[number] for number in numbers}
        found = [index for index, label in enumerate(self.labels) if words <= label.words]
        if not found:
            raise ValueError(f'No real image is "{prompt}": its words never occur together, leave one out.')
        return torch.tensor(found)

    def modes(self, prompt: str) -> list[Mode]:
        """The known modes that the prompt leaves open, sorted."""
        return sorted({self.labels[index].mode for index in self.matching(prompt).tolist()})

    def images(self, indices: Tensor) -> Tensor:
        """Some pictures as float32 in 0..1, (n, 3, 64, 64)."""
        return self.pixels[indices].float() / 255

    @cached_property
    def quality_limit(self) -> float:
        """RMSE below which a picture is close to a real one: 0.45 of the median RMSE between two concepts."""
        first_of_concept = {label.concept: index for index, label in reversed(list(enumerate(self.labels)))}
        flat = self.images(torch.tensor(sorted(first_of_concept.values()))).flatten(1)
        return QUALITY_SHARE * float(torch.pdist(flat).median()) / flat.shape[1] ** 0.5

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return vocabulary_of(self.labels)


def pack_labels(labels: Sequence[Label]) -> str:
    """Labels as compact JSON: each distinct value once, then five numbers for each picture."""
    values = [sorted({label[field] for label in labels}) for field in range(len(Label._fields))]
    number = [{value: index for index, value in enumerate(column)} for column in values]
    rows = [[number[field][value] for field, value in enumerate(label)] for label in labels]
    return json.dumps(
        {"values": dict(zip(Label._fields, values, strict=True)), "pictures": rows}, separators=(",", ":")
    )


def unpack_labels(text: str) -> list[Label]:
    """Inverse of `pack_labels`."""
    table = json.loads(text)
    values = [table["values"][field] for field in Label._fields]
    return [Label(*(values[field][number] for field, number in enumerate(row))) for row in table["pictures"]]


def paint_atlas(pixels: Tensor) -> Image.Image:
    """One picture of all tiles, uint8 (N, 3, 64, 64), row by row; white where tiles are missing."""
    rows = -(-len(pixels) // COLUMNS)
    tiles = torch.full((rows * COLUMNS, *pixels.shape[1:]), 255, dtype=torch.uint8)
    tiles[: len(pixels)] = pixels
    grid = tiles.view(rows, COLUMNS, 3, TILE, TILE).permute(0, 3, 1, 4, 2)
    return Image.fromarray(grid.reshape(rows * TILE, COLUMNS * TILE, 3).numpy())


def cut_atlas(atlas: Image.Image, count: int) -> Tensor:
    """Inverse of `paint_atlas` for `count` tiles.

    Raises:
        ValueError: the atlas has no room for them.
    """
    grid = torch.from_numpy(np.array(atlas.convert("RGB")))
    rows = grid.shape[0] // TILE
    if grid.shape[1] != COLUMNS * TILE or rows * COLUMNS < count:
        raise ValueError(
            f"The atlas of {grid.shape[1]} x {grid.shape[0]} pixels can't hold {count} tiles: it is damaged."
        )
    tiles = grid[: rows * TILE].view(rows, TILE, COLUMNS, TILE, 3).permute(0, 2, 4, 1, 3)
    return tiles.reshape(rows * COLUMNS, 3, TILE, TILE)[:count].contiguous()
