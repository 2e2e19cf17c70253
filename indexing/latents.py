"""Latents from safetensors files, for an index."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..features.image_folder import FoundFiles, find_files, printable
from .latent_formats import latents_shape
from .sources import Part, Passed, Progress

SUFFIXES = (".safetensors", ".latent")
MARKER = "latent_format_version_0"
"""A tensor by which ComfyUI marks latents that are unscaled, as its VAE gives them."""

OLD_SCALE = 0.18215
"""Factor of the latents in ComfyUI's files without that mark."""

ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class LatentFiles:
    """Raw VAE latents, any number in a file; a source for an index.

    Attributes:
        folder: the files; a latent is named by its file and its number there.
        latent_format: its name; shapes are checked against it.
        key: of the tensor in every file; "" if each file holds only one.
    """

    folder: FoundFiles
    latent_format: str
    key: str = ""

    def __len__(self) -> int:
        return sum(self._shape(path)[0] for path in self.folder.paths)

    def shape(self) -> tuple[int, ...]:
        """Shape of the first latent."""
        return self._shape(self.folder.paths[0])[1:]

    def parts(self, passed: Passed, progress: Progress) -> Iterator[Part]:
        """Read new latents.

        Raises:
            ValueError: a file cannot be read, or holds no such tensor, latents of another shape or numbers that are
                not finite.
        """
        done, total, shape = 0, len(self), self.shape()
        passed.passed_over += self.folder.passed_over
        for path in self.folder.paths:
            name = self.folder.name(path)
            if (other := self._shape(path)[1:]) != shape:
                raise ValueError(
                    f"{_shown(path)} holds latents of shape {other}, others {shape}: give those of one size."
                )
            for offset, latents in self._chunks(path):
                finite = latents.isfinite().flatten(1).all(1).tolist()
                if not all(finite):
                    wrong = f"{name}:{offset + finite.index(False)}"
                    raise ValueError(f"The latent {wrong} holds NaN or infinite values: remove it and try again.")
                keys = [hashlib.sha256(latent.numpy().tobytes()).hexdigest() for latent in latents.contiguous()]
                new = []
                for row, key in enumerate(keys):
                    if passed.is_new(key):
                        passed.known.add(key)
                        new.append(row)
                if new:
                    yield Part([f"{name}:{offset + row}" for row in new], [keys[row] for row in new], latents[new])
                done += len(latents)
                progress(done, total)

    def _chunks(self, path: Path) -> Iterator[tuple[int, Tensor]]:
        count, *one = self._shape(path)
        with _opened(path) as file:
            rows = file.get_slice(self._tensor(path, file))
            scale = _scale(path, file)
            has_rows = rows.get_shape()[0] == count
            for offset in range(0, count, ROWS_AT_ONCE):
                chunk = rows[offset : offset + ROWS_AT_ONCE] if has_rows else rows[:]
                yield offset, (chunk.float() / scale).reshape(-1, *one)

    def _shape(self, path: Path) -> tuple[int, ...]:
        with _opened(path) as file:
            shape = file.get_slice(self._tensor(path, file)).get_shape()
        try:
            return latents_shape(self.latent_format, shape)
        except ValueError as error:
            raise ValueError(f"{_shown(path)}: {error}") from error

    def _tensor(self, path: Path, file: Any) -> str:
        keys = sorted(set(file.keys()) - {MARKER})
        wanted = self.key or (keys[0] if len(keys) == 1 else "")
        if wanted not in keys:
            raise ValueError(
                f"{_shown(path)} holds {', '.join(keys) or 'nothing'}: name one of these tensors with --key."
            )
        return wanted


def find_latents(source: Path, latent_format: str, key: str = "") -> LatentFiles:
    """The latents of a file, or of all files in a folder and its subfolders.

    Raises:
        ValueError: there are none.
    """
    if source.is_file():
        return LatentFiles(FoundFiles(source.parent, (source,), ()), latent_format, key)
    found = find_files(source, "latent", lambda path: path.suffix.lower() in SUFFIXES)
    return LatentFiles(found, latent_format, key)


def _scale(path: Path, file: Any) -> float:
    """Factor of the latents of a file."""
    old = path.suffix.lower() == ".latent" and MARKER not in file.keys()  # noqa: SIM118 - a file, not a dict
    return OLD_SCALE if old else 1.0


def _shown(path: Path) -> str:
    return printable(str(path))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        file = safe_open(path, "pt")
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{_shown(path)} cannot be read as safetensors ({error}): remove it and try again.") from error
    with file as opened:
        yield opened
