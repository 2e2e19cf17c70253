"""Diverse Noise: initial noises sampled as a set (after Turinici, arXiv 2202.09573), each an exact Gaussian sample.

Minimising the energy distance alone shrinks noises, from which models make flat images. Here each single noise of a set
has exactly the distribution N(0, I), and only their joint distribution is designed:

- "simplex": the noises of a set are a regular simplex, as far apart as possible.
- "quantised": the lowest frequencies, which carry composition, represent the Gaussian together with those of earlier
  sets; all others are independent.
- "independent": nothing is designed.

A noise is identified by its number: 0..J-1 are the first set of J, the next J the second, and so on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ..kernels.low_frequency import coefficients, cosine_basis, with_coefficients
from ..kernels.quantization import quantize_gaussian, simplex_noise, stratified_chi_radii
from .base import seeded_generator

Mode = Literal["quantised", "simplex", "independent"]

MAX_SET = 256
"""Largest size of a set, and of an epoch of sets that are designed together; then the design starts over."""

MIN_AVOIDED = 2
"""Images to avoid are standardised by their own deviation, which needs at least two."""


@dataclass(frozen=True)
class NoiseDesign:
    """The design of noises; equal designs give equal noises.

    Attributes:
        seed: of everything random.
        mode: see the module.
        set_size: J, how many noises are designed together.
        designed: number of low-frequency coefficients, over all channels, that "quantised" designs.
        avoid: images that quantised noises keep away from, (N, C, ...) latents of one model, or None.
    """

    seed: int
    mode: Mode = "quantised"
    set_size: int = 16
    designed: int = 48
    avoid: Tensor | None = None

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ValueError(f"The mode must be one of {', '.join(get_args(Mode))}, not {self.mode!r}.")
        if not 1 <= self.set_size <= MAX_SET:
            raise ValueError(f"A set holds 1 to {MAX_SET} noises, not {self.set_size}.")
        if self.designed < 1:
            raise ValueError(f"Quantised noise designs at least one coefficient, not {self.designed}.")
        if self.avoid is not None and self.mode != "quantised":
            raise ValueError(f'Only quantised noise keeps away from images, and the mode is "{self.mode}".')

    @property
    def avoided(self) -> int:
        """How many images the noises keep away from: the newest ``MAX_SET``, and none if there is only one."""
        given = 0 if self.avoid is None else len(self.avoid)
        return min(given, MAX_SET) if given >= MIN_AVOIDED else 0

    def sample(self, numbers: Sequence[int], shape: tuple[int, ...]) -> Tensor:
        """Sample noises of the design; each is the same whichever others are sampled with it.

        Args:
            numbers: of the noises, from 0 through all sets.
            shape: (C, ...) of one noise.

        Returns:
            (len(numbers), C, ...), float32, on the CPU.

        Raises:
            ValueError: a negative number, or images to avoid of another number of channels.
        """
        if any(number < 0 for number in numbers):
            raise ValueError(f"Noises are counted from 0, and {min(numbers)} is below.")
        if self.mode == "simplex":
            return self._simplex(numbers, shape)
        if self.mode == "quantised":
            return self._quantised(numbers, shape)
        return torch.stack([self._independent(number, shape) for number in numbers])

    def _independent(self, number: int, shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=self._generator(f"noise {number}"))

    def _simplex(self, numbers: Sequence[int], shape: tuple[int, ...]) -> Tensor:
        sets: dict[int, Tensor] = {}
        for first in {self._first_of_set(number) for number in numbers}:
            members = range(first, first + self.set_size)
            sets[first] = simplex_noise(torch.stack([self._independent(member, shape) for member in members]))
        return torch.stack([sets[self._first_of_set(number)][number % self.set_size] for number in numbers])

    def _quantised(self, numbers: Sequence[int], shape: tuple[int, ...]) -> Tensor:
        channels = shape[0]
        basis = cosine_basis(shape[1:], max(self.designed // channels, 1))
        known = _scores(self.avoid, shape, len(basis))
        designs: dict[int, Tensor] = {}
        for first in sorted({self._first_of_epoch(number) for number in numbers}):
            last = max(number for number in numbers if self._first_of_epoch(number) == first)
            designs[first] = self._epoch(first, last, channels * len(basis), known)
        noises = []
        # One by one, as a matrix product may round differently with more rows.
        for number in numbers:
            first = self._first_of_epoch(number)
            new = designs[first][number - first].view(1, channels, len(basis))
            noises.append(with_coefficients(self._independent(number, shape)[None], basis, new))
        return torch.cat(noises)

    def _epoch(self, first: int, last: int, dimension: int, known: Tensor) -> Tensor:
        """Designed coefficients of the noises from ``first`` to the end of the set of ``last``, (count, dimension)."""
        designed = known.new_empty((0, dimension))
        while first + len(designed) <= last:
            generator = self._generator(f"set from {first + len(designed)}")
            start = torch.randn((self.set_size, dimension), generator=generator, dtype=torch.float64)
            radii = stratified_chi_radii(self.set_size, dimension, generator)
            start *= (radii / start.norm(dim=1))[:, None]
            designed = torch.cat([designed, quantize_gaussian(start, torch.cat([known, designed]), keep_norms=True)])
        return designed

    def _first_of_set(self, number: int) -> int:
        return number - number % self.set_size

    def _first_of_epoch(self, number: int) -> int:
        return number - number % (MAX_SET // self.set_size * self.set_size)

    def _generator(self, stream: str) -> torch.Generator:
        return seeded_generator(self.seed, f"diverse noise:{stream}")


def _scores(images: Tensor | None, shape: tuple[int, ...], count: int) -> Tensor:
    """Standardised low-frequency coefficients of the images to avoid, (N, C * count), float64."""
    # Images that crowd in these coefficients come from noises that do.
    dimension = shape[0] * count
    if images is None or len(images) < MIN_AVOIDED:
        return torch.empty((0, dimension), dtype=torch.float64)
    if images.ndim != len(shape) + 1 or images.shape[1] != shape[0]:
        raise ValueError(
            f"The images to keep away from are latents of shape {tuple(images.shape[1:])} and the noise has shape "
            f"{shape}: they belong to another model. Encode them with this model's VAE."
        )
    basis = cosine_basis(tuple(images.shape[2:]), count)
    if len(basis) < count:
        raise ValueError(f"The images to keep away from are too small to have {count} frequencies: design fewer.")
    rows = coefficients(images[-MAX_SET:].cpu(), basis).flatten(1).double()
    deviation = rows.std(0, correction=0)
    return torch.where(deviation > 0, (rows - rows.mean(0)) / deviation, 0.0)
