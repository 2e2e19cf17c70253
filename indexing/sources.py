"""Sources of an index: images of files or of a batch, encoded in parts, each content once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..features.image_files import ImageFileError, as_tensor, read_ahead, read_image
from ..features.image_folder import FoundFiles

Encode = Callable[[Tensor], Tensor]
"""Images (B, 3, H, W) in 0..1 to vectors (B, ...)."""

Progress = Callable[[int, int], None]
"""Called with (items done, items in all)."""


@dataclass(frozen=True)
class Part:
    """Some new vectors.

    Attributes:
        names: of the items.
        keys: hash of the content of each, hexadecimal.
        vectors: shape (n, ...).
    """

    names: list[str]
    keys: list[str]
    vectors: Tensor


@dataclass
class Passed:
    """What does not go into the index, filled while a source is read.

    Attributes:
        known: keys of the contents that it holds; grows by what is added.
        begun: those of a stopped build, whose items do not count as repeated when it resumes.
        repeated: number of items whose content was known.
        unreadable: names of unreadable files, and why.
        passed_over: names of skipped files, and why.
    """

    known: set[str] = field(default_factory=set)
    begun: set[str] = field(default_factory=set)
    repeated: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    passed_over: list[tuple[str, str]] = field(default_factory=list)

    def is_new(self, key: str) -> bool:
        """Whether the content of this key is new; counts it as repeated otherwise."""
        if key not in self.known:
            return True
        self.repeated += key not in self.begun
        self.begun.discard(key)
        return False


class Source(Protocol):
    """A source of vectors."""

    def __len__(self) -> int:
        """Number of items."""
        ...

    def shape(self) -> tuple[int, ...]:
        """Shape of one vector."""
        ...

    def parts(self, passed: Passed, progress: Progress) -> Iterator[Part]:
        """Read and encode new items.

        Args:
            passed: known contents; updated.
            progress: called after every batch.

        Raises:
            ValueError: an item is of another shape than the first, or holds numbers that are not finite.
        """
        ...


@dataclass(frozen=True)
class Fitted:
    """An encoder and the size to which images are cropped and scaled for it.

    Attributes:
        width: in pixels.
        height: in pixels.
        encode: makes the vectors.
        batch: images encoded at once.
    """

    width: int
    height: int
    encode: Encode
    batch: int = 8

    def shape(self) -> tuple[int, ...]:
        """Shape of one vector."""
        return tuple(self.encode(torch.zeros(1, 3, self.height, self.width))[0].shape)

    def ready(self, image: Image.Image) -> Tensor:
        """An image (3, height, width) in 0..1."""
        size = (self.width, self.height)
        return as_tensor(image if image.size == size else ImageOps.fit(image, size, Image.Resampling.LANCZOS))

    def read(self, path: Path) -> Tensor:
        """The image (3, height, width) in 0..1 of a file.

        Raises:
            ImageFileError: it cannot be read.
        """
        return self.ready(read_image(path, 2 * max(self.width, self.height)))


@dataclass(frozen=True)
class ImageFiles:
    """Image files; unreadable ones are recorded and skipped.

    Attributes:
        folder: the files.
        fitted: size and encoder.
    """

    folder: FoundFiles
    fitted: Fitted

    def __len__(self) -> int:
        return len(self.folder.paths)

    def shape(self) -> tuple[int, ...]:
        """See ``Source``."""
        return self.fitted.shape()

    def parts(self, passed: Passed, progress: Progress) -> Iterator[Part]:
        """See ``Source``."""
        passed.passed_over += self.folder.passed_over
        names: list[str] = []
        keys: list[str] = []
        images: list[Tensor] = []
        read = read_ahead(self.folder.paths, lambda path: self._read(path, passed.known))
        for done, (path, result) in enumerate(read, start=1):
            name = self.folder.name(path)
            if isinstance(result, ImageFileError):
                passed.unreadable.append((name, str(result)))
            elif passed.is_new(result[0]) and result[1] is not None:
                names.append(name)
                keys.append(result[0])
                images.append(result[1])
                passed.known.add(result[0])
            if len(names) == self.fitted.batch or (names and done == len(self)):
                yield Part(names, keys, self.fitted.encode(torch.stack(images)))
                names, keys, images = [], [], []
            if done % self.fitted.batch == 0 or done == len(self):
                progress(done, len(self))

    def _read(self, path: Path, known: Set[str]) -> tuple[str, Tensor | None]:
        """Hash of a file, and its image unless it is known; called in threads."""
        try:
            with path.open("rb") as file:
                key = _digest(file)
        except OSError as error:
            raise ImageFileError(error.strerror or str(error)) from error
        return key, None if key in known else self.fitted.read(path)


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


@dataclass(frozen=True)
class GivenImages:
    """A batch of images.

    Attributes:
        images: (N, 3, H, W) in 0..1.
        name: prefix of their names, ``name:<index>``.
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
                ready = self.fitted.ready(Image.fromarray(levels.numpy()))
                yield Part([f"{self.name}:{row}"], [key], self.fitted.encode(ready[None]))
            progress(row + 1, len(self))
