"""Millions of images to protect: the embedded model's real images, augmented and encoded, for ``bench index``.

Latents are written to a folder in numbered parts, each from its own seed, so that a stopped run resumes and every
machine makes the same images.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample, interpolate

from ...embedded.assets_path import asset
from ...embedded.autoencoder import DOWNSCALE, LATENT_CHANNELS
from ...embedded.reals import TILE, RealImages
from ...embedded.training.slim_autoencoder import restore, slim_encoder

PART = 8192
"""16 MB of latents."""

ENCODED_PIXELS = 32 * TILE**2
"""Pixels encoded at once: what the network holds of them should stay in the processor's cache."""

PREFIX = "taesd_encoder."


@dataclass(frozen=True)
class LatentFolder:
    """A folder of latents in parts.

    Attributes:
        folder: of the parts.
        size: width and height of the images in pixels.
        count: images of the whole set.
        part: latents of 64-pixel images in one part; larger images have proportionally smaller parts.
        encoded: images to encode, rounded up to whole parts; others vary their latents. 0 encodes all.
    """

    folder: Path
    size: int
    count: int
    part: int = PART
    encoded: int = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one latent."""
        return (LATENT_CHANNELS, self.size // DOWNSCALE, self.size // DOWNSCALE)

    @property
    def part_rows(self) -> int:
        """Latents in one part."""
        return max(1, self.part * TILE**2 // self.size**2)

    def parts(self) -> Iterator[np.ndarray]:
        """The latents, part by part, memory-mapped, float16 (n, 16, size / 8, size / 8); the last is cut to the count.

        Raises:
            ValueError: a part is missing.
        """
        for number in range(self._part_count):
            path = self._path(number)
            if not path.is_file():
                raise ValueError(f"{path} is missing: make the latents first, with --make.")
            yield np.load(path, mmap_mode="r")[: self.count - number * self.part_rows]

    def make(self, precision: torch.dtype = torch.float32) -> Iterator[int]:
        """Make missing parts, and yield the number of latents after each.

        Args:
            precision: float32, or bfloat16 for processors that compute in it; latents then differ by about 0.5 %.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        reals, encoder = RealImages.load(), RawEncoder(precision)
        for number in range(self._part_count):
            path = self._path(number)
            if not path.is_file():
                unfinished = path.with_suffix(f".{os.getpid()}.tmp")
                with unfinished.open("wb") as file:
                    np.save(file, self._made(number, reals, encoder))
                unfinished.replace(path)
            yield min((number + 1) * self.part_rows, self.count)

    @property
    def _part_count(self) -> int:
        return -(-self.count // self.part_rows)

    def _path(self, number: int) -> Path:
        return self.folder / f"{self.size}px-{number:05d}.npy"

    def _made(self, number: int, reals: RealImages, encoder: RawEncoder) -> np.ndarray:
        generator = torch.Generator().manual_seed(number)
        numbers = torch.arange(number * self.part_rows, (number + 1) * self.part_rows)
        encoded = -(-self.encoded // self.part_rows)
        if encoded and number >= encoded:
            source = np.load(self._path(number % encoded), mmap_mode="r")
            return varied(torch.tensor(source).float(), generator).half().numpy()
        batches = numbers.split(max(1, ENCODED_PIXELS // self.size**2))
        latents = [encoder(augmented(reals, batch, self.size, generator)) for batch in batches]
        return torch.cat(latents).half().numpy()


class RawEncoder:
    """The embedded encoder without the channels that are zero: the same latents in a fifth of the time."""

    def __init__(self, precision: torch.dtype) -> None:
        state = {key: value.float() for key, value in load_file(asset("vae.safetensors")).items()}
        self.scale, self.shift = (float(state[key]) for key in ("vae_scale", "vae_shift"))
        encoder = slim_encoder()
        restore(encoder, {key.removeprefix(PREFIX): value for key, value in state.items() if key.startswith(PREFIX)})
        self.precision = precision
        self.network: nn.Module = encoder.to(precision).to(memory_format=torch.channels_last).requires_grad_(False)

    def __call__(self, images: Tensor) -> Tensor:
        """Raw latents, float32 (B, 16, H / 8, W / 8), of images (B, 3, H, W) in 0..1."""
        encoded = self.network(images.to(self.precision, memory_format=torch.channels_last)).float()
        return encoded / self.scale + self.shift


def augmented(reals: RealImages, numbers: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Images of a numbered endless set, float32 (n, 3, size, size) in 0..1.

    The first are the real images themselves. Later ones are rotated (up to 15 degrees), scaled (by up to 15 %), moved
    (up to 5 pixels of 64), mirrored (every other) and recoloured (channels by up to 15 %), each by a random fraction
    of these: some stay close to the original, which makes the search harder.
    """
    images = resized(reals.images(numbers % len(reals.labels)), size)
    changed = (numbers >= len(reals.labels)).float() * torch.rand(len(numbers), generator=generator)
    draws = (2 * torch.rand((len(numbers), 8), generator=generator) - 1) * changed[:, None]
    angle, zoom = draws[:, 0] * (torch.pi / 12), 1 + 0.15 * draws[:, 1]
    mirror = torch.where(draws[:, 2] < 0, -1.0, 1.0)
    cosine, sine = zoom * angle.cos(), zoom * angle.sin()
    across, down = draws[:, 3:5].T * (2 * 5 / TILE)
    rows = torch.stack([cosine * mirror, -sine, across, sine * mirror, cosine, down], 1).view(-1, 2, 3)
    grid = affine_grid(rows, list(images.shape), align_corners=False)
    images = grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return (images * (1 + 0.15 * draws[:, 5:8, None, None])).clamp(0, 1)


def varied(latents: Tensor, generator: torch.Generator) -> Tensor:
    """Latents (n, C, H, W) moved by up to 5 pixels of 64 or a cell, mirrored (every other), scaled by up to 15 %."""
    count, channels, height, width = latents.shape
    reach = max(1, width * 5 // TILE)
    moves = torch.randint(-reach, reach + 1, (count, 2), generator=generator)
    rows, columns = (
        (torch.arange(length) + moves[:, axis, None]).clamp(0, length - 1)
        for axis, length in enumerate((height, width))
    )
    columns = torch.where(torch.rand((count, 1), generator=generator) < 0.5, width - 1 - columns, columns)
    moved = latents.gather(2, rows[:, None, :, None].expand_as(latents))
    moved = moved.gather(3, columns[:, None, None, :].expand_as(latents))
    draws = 2 * torch.rand((count, channels), generator=generator) - 1
    share = 0.15 * torch.rand((count, 1), generator=generator)
    return moved * (1 + share * draws)[:, :, None, None]


def resized(images: Tensor, size: int) -> Tensor:
    """Images (n, 3, H, W) in 0..1, ``size`` pixels wide and high."""
    if images.shape[-1] == size:
        return images
    return interpolate(images, (size, size), mode="bicubic", align_corners=False).clamp(0, 1)
