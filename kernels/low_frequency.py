"""The lowest frequencies of a latent: the few coefficients of initial noise that carry composition.

The basis is the orthonormal discrete cosine transform. The coefficients of white noise are independent standard
Gaussians, and replacing them leaves all other coefficients unchanged.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor


def lowest_frequencies(sizes: tuple[int, ...], count: int) -> list[tuple[int, ...]]:
    """The lowest frequencies of a grid, as numbers of half waves along each axis, lowest first.

    The order does not depend on the sizes, so that grids of different sizes share their lowest frequencies.

    Args:
        sizes: of the axes.
        count: how many; a small grid has fewer.
    """
    reach = [range(min(size, count)) for size in sizes]
    waves = sorted(itertools.product(*reach), key=lambda wave: (sum(k * k for k in wave), wave))
    return waves[:count]


def cosine_basis(sizes: tuple[int, ...], count: int) -> Tensor:
    """Orthonormal cosine waves of the lowest frequencies, shape (count, prod(sizes)), float32."""
    rows = []
    for wave in lowest_frequencies(sizes, count):
        row = torch.ones(1, dtype=torch.float64)
        for size, k in zip(sizes, wave, strict=True):
            centres = torch.arange(size, dtype=torch.float64) + 0.5
            along = torch.cos(math.pi * k / size * centres) * math.sqrt((1 if k == 0 else 2) / size)
            row = torch.outer(row, along).flatten()
        rows.append(row)
    return torch.stack(rows).float()


def coefficients(latents: Tensor, basis: Tensor) -> Tensor:
    """Coefficients of every channel, shape (B, C, count), float32.

    Args:
        latents: (B, C, ...).
        basis: of ``cosine_basis`` for the sizes of the latents.
    """
    return latents.flatten(2).float() @ basis.T


def with_coefficients(latents: Tensor, basis: Tensor, new: Tensor) -> Tensor:
    """Replace the coefficients (B, C, count) of latents (B, C, ...) in the basis; float32."""
    change = (new.float() - coefficients(latents, basis)) @ basis
    return latents.float() + change.view(latents.shape)
