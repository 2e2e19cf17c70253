"""The real images that the embedded model was trained on, and their known modes: vendor x skin tone x gender.

They are stored as one atlas (tiles of 64 x 64 pixels, row by row) and a table of labels.
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
QUALITY_SHARE = 0.45
"""The quality limit, relative to the distance between two concepts."""


class Mode(NamedTuple):
    """The attributes that a prompt may leave open; "" where one does not apply."""

    gender: str
    skin: str
    vendor: str


class Label(NamedTuple):
    """The attributes of a real image, in the words of prompts; "" where one does not apply."""

    concept: str
    gender: str
    skin: str
    vendor: str
    category: str

    @property
    def words(self) -> frozenset[str]:
        """All words that describe the image."""
        return frozenset(self.concept.split()) | frozenset(word for word in self[1:] if word)

    @property
    def mode(self) -> Mode:
        """The image's mode."""
        return Mode(self.gender, self.skin, self.vendor)


def vocabulary_of(labels: Sequence[Label]) -> Vocabulary:
    """The padding word, then all words of the labels, sorted."""
    return Vocabulary([PAD, *sorted(set().union(*(label.words for label in labels)))])


@dataclass(frozen=True)
class RealImages:
    """Real images and their labels.

    Attributes:
        pixels: uint8, (N, 3, 64, 64).
        labels: one per image.
    """

    pixels: Tensor
    labels: Sequence[Label]

    @classmethod
    def load(cls, folder: Path | None = None) -> RealImages:
        """Load the atlas and the table from a folder (default: the embedded ones).

        Raises:
            ValueError: this Pillow does not read AVIF, or the atlas does not match the table.
        """
        if not features.check("avif"):
            raise ValueError("The real images are an AVIF, which Pillow reads from version 11.3: update Pillow.")
        table, atlas = (folder / name if folder else asset(name) for name in (TABLE, ATLAS))
        labels = unpack_labels(table.read_text(encoding="utf-8"))
        with Image.open(atlas) as image:
            return cls(cut_atlas(image, len(labels)), labels)

    def matching(self, prompt: str) -> Tensor:
        """Indices, int64, of the images with all known words of the prompt; the model too ignores unknown words.

        Raises:
            ValueError: no image has them.
        """
        numbers, _ = self._vocabulary.parse(prompt)
        words = {self._vocabulary.words[number] for number in numbers}
        found = [index for index, label in enumerate(self.labels) if words <= label.words]
        if not found:
            raise ValueError(f'No real image is "{prompt}": its words never occur together, leave one out.')
        return torch.tensor(found)

    def modes(self, prompt: str) -> list[Mode]:
        """The modes that the prompt leaves open, sorted."""
        return sorted({self.labels[index].mode for index in self.matching(prompt).tolist()})

    def images(self, indices: Tensor) -> Tensor:
        """Images as float32 in 0..1, (n, 3, 64, 64)."""
        return self.pixels[indices].float() / 255

    @cached_property
    def quality_limit(self) -> float:
        """RMSE up to which an image is close to a real one: 0.45 of the median RMSE between two concepts."""
        first_of_concept = {label.concept: index for index, label in reversed(list(enumerate(self.labels)))}
        flat = self.images(torch.tensor(sorted(first_of_concept.values()))).flatten(1)
        return QUALITY_SHARE * float(torch.pdist(flat).median()) / flat.shape[1] ** 0.5

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return vocabulary_of(self.labels)


def unpack_labels(text: str) -> list[Label]:
    """Labels from compact JSON: each distinct value once, then five numbers per image."""
    table = json.loads(text)
    values = [table["values"][field] for field in Label._fields]
    return [Label(*(values[field][number] for field, number in enumerate(row))) for row in table["pictures"]]


def cut_atlas(atlas: Image.Image, count: int) -> Tensor:
    """The first `count` tiles of an atlas, uint8 (N, 3, 64, 64).

    Raises:
        ValueError: the atlas is too small.
    """
    grid = torch.from_numpy(np.array(atlas.convert("RGB")))
    rows = grid.shape[0] // TILE
    if grid.shape[1] != COLUMNS * TILE or rows * COLUMNS < count:
        raise ValueError(
            f"The atlas of {grid.shape[1]} x {grid.shape[0]} pixels can't hold {count} tiles: it is damaged."
        )
    tiles = grid[: rows * TILE].view(rows, TILE, COLUMNS, TILE, 3).permute(0, 2, 4, 1, 3)
    return tiles.reshape(rows * COLUMNS, 3, TILE, TILE)[:count].contiguous()
