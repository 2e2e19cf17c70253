"""What goes into an index, an encoder at hand: pictures of files or of a batch, in parts, each content once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..features.picture_files import UNREADABLE, read_picture

Encode = Callable[[Tensor], Tensor]
"""Pictures (B, 3, H, W) in 0..1 to vectors (B, ...)."""

Progress = Callable[[int, int], None]
"""Told (items looked at, items in all)."""


@dataclass(frozen=True)
class Part:
    """Some vectors that an index does not hold yet.

    Attributes:
        names: what each is called.
        keys: hash of the content of each, hexadecimal.
        vectors: shape (n, ...).
    """

    names: list[str]
    keys: list[str]
    vectors: Tensor


@dataclass
class Passed:
    """What did not go into the index, filled while a source is read.

    Attributes:
        known: contents that it holds already; grows by what goes into it.
        begun: those of them that a build encoded before it was stopped: to meet one of them again is no repetition.
        repeated: how many items were passed over because their content is known.
        unreadable: names of files that could not be read, and why.
    """

    known: set[str] = field(default_factory=set)
    begun: set[str] = field(default_factory=set)
    repeated: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    def is_new(self, key: str) -> bool:
        """Whether the content of this key is not known, and is to be read; counts it where it is."""
        if key not in self.known:
            return True
        self.repeated += key not in self.begun
        self.begun.discard(key)
        return False


class Source(Protocol):
    """Where vectors come from."""

    def __len__(self) -> int:
        """How many items there are to look at."""
        ...

    def shape(self) -> tuple[int, ...]:
        """Shape of one vector."""
        ...

    def parts(self, passed: Passed, progress: Progress) -> Iterator[Part]:
        """Read, and where needed encode, what is not known yet.

        Args:
            passed: says what is known, and grows by what is read and what is passed over.
            progress: told after every batch.

        Raises:
            ValueError: an item is of another shape than the first, or holds numbers that are not finite.
        """
        ...


@dataclass(frozen=True)
class Fitted:
    """How pictures are made ready for an encoder: cut to the middle and scaled to one size, some at a time.

    Attributes:
        width: in pixels.
        height: in pixels.
        encode: makes the vectors.
        batch: pictures encoded at once.
    """

    width: int
    height: int
    encode: Encode
    batch: int = 8

    def shape(self) -> tuple[int, ...]:
        """Shape of one vector: that of a black picture."""
        return tuple(self.encode(torch.zeros(1, 3, self.height, self.width))[0].shape)

    def ready(self, picture: Image.Image) -> Tensor:
        """A picture (3, height, width) in 0..1."""
        size = (self.width, self.height)
        if picture.size != size:
            picture = ImageOps.fit(picture, size, Image.Resampling.LANCZOS)
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255


@dataclass(frozen=True)
class PictureFiles:
    """Picture files; those that cannot be read are passed over.

    Attributes:
        paths: of the files, sorted.
        root: names are paths below this folder.
        fitted: size and encoder.
    """

    paths: Sequence[Path]
    root: Path
    fitted: Fitted

    def __len__(self) -> int:
        return len(self.paths)

    def shape(self) -> tuple[int, ...]:
        """See ``Source``."""
        return self.fitted.shape()

    def parts(self, passed: Passed, progress: Progress) -> Iterator[Part]:
        """See ``Source``."""
        names: list[str] = []
        keys: list[str] = []
        pictures: list[Tensor] = []
        for done, path in enumerate(self.paths, start=1):
            name = path.relative_to(self.root).as_posix()
            try:
                key = hashlib.sha256(path.read_bytes()).hexdigest()
                if passed.is_new(key):
                    pictures.append(self.fitted.ready(read_picture(path)))
                    names.append(name)
                    keys.append(key)
                    passed.known.add(key)
            except UNREADABLE as error:
                passed.unreadable.append((name, str(error) or type(error).__name__))
            if len(names) == self.fitted.batch or (names and done == len(self)):
                yield Part(names, keys, self.fitted.encode(torch.stack(pictures)))
                names, keys, pictures = [], [], []
            if done % self.fitted.batch == 0 or done == len(self):
                progress(done, len(self))


@dataclass(frozen=True)
class GivenPictures:
    """Pictures that are at hand, all of one size.

    Attributes:
        images: (N, 3, H, W) in 0..1.
        name: what they are called: ``name:<index>``.
        fitted: size and encoder.
    """

    images: Tensor
    name: str
    fitted: Fitted

    def __len__(self) -> int:
        return len(self.images)

    def shape(self) -> tuple[int, ...]:
        """See ``Source``."""
        return self.fitted.shape()

    def parts(self, passed: Passed, progress: Progress) -> Iterator[Part]:
        """See ``Source``."""
        for row, image in enumerate(self.images):
            levels = (image.nan_to_num().clamp(0, 1) * 255).round().to("cpu", torch.uint8).movedim(0, -1).contiguous()
            key = hashlib.sha256(f"{tuple(levels.shape)}".encode() + levels.numpy().tobytes()).hexdigest()
            if passed.is_new(key):
                passed.known.add(key)
                picture = self.fitted.ready(Image.fromarray(levels.numpy()))
                yield Part([f"{self.name}:{row}"], [key], self.fitted.encode(picture[None]))
            progress(row + 1, len(self))
