"""Which references may be near, told by a few numbers each: most of a bank is never read.

For orthonormal rows B and y = x - c, |B y - B y'|^2 + (|y - B'B y| - |y' - B'B y'|)^2 is never above |x - x'|^2: no
reference is lost. Where B holds the principal directions of the references, it rules nearly all of them out
(``projection_bounds`` says the same of a Protected Index, in float64 and on disk).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..precision import product_rounding
from .field import masked
from .reference_blocks import Blocks, Transform, count_rows, read_chunks, read_rows

DIMENSIONS = 64
"""Numbers kept of each reference, beside the norm of what they leave out."""

SAMPLE = 2 * DIMENSIONS
"""References from which the directions are taken."""

SAMPLE_ELEMENTS = 1 << 21
"""8 MB of float32. A larger sample is one reference in ``SAMPLE_STRIDE``: a few directions bound most distances."""

SAMPLE_STRIDE = 64
"""References to one of the sample where references are large."""

MIN_VARIANCE = 1e-5
"""Directions of less variance, relative to the first, are rounding."""


@dataclass(frozen=True)
class DistanceBounds:
    """References as a few numbers each.

    Attributes:
        centre: c, shape (D,).
        basis: B, orthonormal rows, shape (m, D).
        coordinates: B (z - c) of every reference and the norm of what it leaves out, shape (N, m + 1).
        squares: their squared norms, shape (N,).
        norms: squared norms of the references, shape (N,).
    """

    centre: Tensor
    basis: Tensor
    coordinates: Tensor
    squares: Tensor
    norms: Tensor

    @classmethod
    def fit(
        cls, references: Blocks, like: Tensor, transform: Transform | None = None, mask: Tensor | None = None
    ) -> DistanceBounds:
        """The bounds of references.

        Args:
            references: as in ``read_chunks``, at least one, and so are ``like`` and ``transform``.
            mask: 1 where values count and 0 elsewhere, shape (D,); None for everywhere.
        """
        centre, basis = _principal(_sample(references, like, transform, mask))
        empty = like.new_empty(0)
        return cls(centre, basis, empty, empty, empty)._with(references, like, transform, mask)

    def concat(
        self, references: Blocks, like: Tensor, transform: Transform | None, mask: Tensor | None
    ) -> DistanceBounds:
        """With further references, numbered after these."""
        more = self._with(references, like, transform, mask)
        parts = ("coordinates", "squares", "norms")
        return replace(self, **{part: torch.cat([getattr(self, part), getattr(more, part)]) for part in parts})

    def near(self, points: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
        """The references that may be inside a radius of a point.

        Args:
            points: shape (B, D), zero where the mask is.
            radius: of each, shape (B,).

        Returns:
            Their numbers, shape (M,), ascending; and for each point a lower bound of its distance to all others, (B,).
        """
        coordinates, squares = self._of(points)
        exact = 1 - product_rounding(coordinates.shape[1])
        # The part of each bound that is the point's own is added to the limit instead.
        bounds = torch.addmm(exact * self.squares, coordinates, self.coordinates.T, alpha=-2)
        numbers = (bounds <= (radius.square() - exact * squares)[:, None]).any(0).nonzero().squeeze(1)
        bounds.index_fill_(1, numbers, math.inf)
        others = bounds.amin(1) if bounds.shape[1] else points.new_full((len(points),), math.inf)
        # Where a point or a reference is not a number there is no bound.
        return numbers, (others + exact * squares).clamp_min(0).nan_to_num(0.0, math.inf).sqrt()

    def _with(
        self, references: Blocks, like: Tensor, transform: Transform | None, mask: Tensor | None
    ) -> DistanceBounds:
        count = count_rows(references)
        coordinates, (squares, norms) = like.new_empty(count, len(self.basis) + 1), like.new_empty(2, count)
        for offset, chunk in read_chunks(references, like, transform):
            place, rows = slice(offset, offset + len(chunk)), masked(chunk, mask)
            coordinates[place], squares[place] = self._of(rows)
            norms[place] = rows.square().sum(1)
        return replace(self, coordinates=coordinates, squares=squares, norms=norms)

    def _of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates of rows (n, D), (n, m + 1), and their squared norms, which are those of the rows less c."""
        offsets = rows - self.centre
        inside = offsets @ self.basis.T
        squares = torch.linalg.vector_norm(offsets, dim=1).square()
        rest = (squares - inside.square().sum(1)).clamp_min(0).sqrt()
        return torch.cat([inside, rest[:, None]], 1), squares


def _sample(references: Blocks, like: Tensor, transform: Transform | None, mask: Tensor | None) -> Tensor:
    """Some references, shape (n, D), without those that are not numbers."""
    count = count_rows(references)
    most = max(SAMPLE_ELEMENTS // like.shape[1], count // SAMPLE_STRIDE, 1)
    numbers = torch.linspace(0, count - 1, min(SAMPLE, count, most), dtype=torch.float64).long().unique()
    sample, filled = like.new_empty(len(numbers), like.shape[1]), 0
    for _, chunk in read_rows(references, numbers, like, transform):
        chunk = masked(chunk, mask)
        chunk = chunk[chunk.sum(1).isfinite()]
        sample[filled : filled + len(chunk)] = chunk
        filled += len(chunk)
    return sample[:filled]


def _principal(sample: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and principal directions, shape (m, D), of a sample (n, D), by way of its n inner products."""
    if len(sample) == 0:
        return sample.new_zeros(sample.shape[1]), sample.new_zeros(0, sample.shape[1])
    centre = sample.mean(0)
    # In place, and let go of before its directions are copied: nothing larger is held beside the references.
    offsets = sample.sub_(centre)
    offsets /= torch.linalg.vector_norm(offsets, math.inf).clamp_min(torch.finfo(offsets.dtype).tiny)
    variances, vectors = torch.linalg.eigh((offsets @ offsets.T).double().cpu())
    kept = min(DIMENSIONS, int((variances > MIN_VARIANCE * variances[-1]).sum()))
    directions = vectors[:, len(variances) - kept :].flip(1).to(offsets).T @ offsets
    del sample, offsets
    # The products of close variances are orthogonal up to rounding alone; bounds need better.
    return centre, torch.linalg.qr(directions.T)[0].T.contiguous()
