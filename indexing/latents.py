"""Latents from safetensors files, for an index: shapes are checked, and what is no number is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from .sources import Part, Passed, Progress

SUFFIXES = (".safetensors", ".latent")
MARKERS = frozenset({"latent_format_version_0"})
"""Tensors that ComfyUI writes beside its latents."""

ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class LatentFiles:
    """Raw VAE latents, any number to a file; a source for an index.

    Attributes:
        paths: of the files, sorted.
        root: names are paths below this folder, with the number of the latent in its file.
        key: of the tensor (N, C, ...) in every file; "" where each file holds only one.
    """

    paths: Sequence[Path]
    root: Path
    key: str = ""

    def __len__(self) -> int:
        return sum(self._shape(path)[0] for path in self.paths)

    def shape(self) -> tuple[int, ...]:
        """Shape of one latent: that of the first."""
        return self._shape(self.paths[0])[1:]

    def parts(self, passed: Passed, progress: Progress) -> Iterator[Part]:
        """Read what is not known yet.

        Raises:
            ValueError: a file cannot be read, or holds no such tensor, latents of another shape or numbers that are
                not finite.
        """
        done, total, shape = 0, len(self), self.shape()
        for path in self.paths:
            name = path.relative_to(self.root).as_posix()
            if (other := self._shape(path)[1:]) != shape:
                raise ValueError(f"{path} holds latents of shape {other}, others {shape}: give those of one size.")
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
        with _opened(path) as file:
            rows = file.get_slice(self._tensor(path, file))
            for offset in range(0, rows.get_shape()[0], ROWS_AT_ONCE):
                yield offset, rows[offset : offset + ROWS_AT_ONCE].float()

    def _shape(self, path: Path) -> tuple[int, ...]:
        with _opened(path) as file:
            return tuple(file.get_slice(self._tensor(path, file)).get_shape())

    def _tensor(self, path: Path, file: Any) -> str:
        keys = sorted(set(file.keys()) - MARKERS)
        wanted = self.key or (keys[0] if len(keys) == 1 else "")
        if wanted not in keys:
            raise ValueError(f"{path} holds {', '.join(keys) or 'nothing'}: name one of these tensors with --key.")
        if len(file.get_slice(wanted).get_shape()) < 2:
            raise ValueError(f"{wanted} in {path} is no tensor of latents (N, C, ...): name another one with --key.")
        return wanted


def find_latents(source: Path, key: str = "") -> LatentFiles:
    """The latents of a file, or of all files in a folder and its subfolders.

    Raises:
        ValueError: there are none.
    """
    if source.is_file():
        return LatentFiles([source], source.parent, key)
    paths = sorted(path for path in source.rglob("*") if path.suffix in SUFFIXES and path.is_file())
    if not paths:
        raise ValueError(f"There are no latents in {source} ({', '.join(SUFFIXES)}).")
    return LatentFiles(paths, source, key)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        file = safe_open(path, "pt")
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} cannot be read as safetensors ({error}): remove it and try again.") from error
    with file as opened:
        yield opened
