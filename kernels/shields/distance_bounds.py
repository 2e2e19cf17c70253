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
    """

    centre: Tensor
    basis: Tensor
    coordinates: Tensor
    squares: Tensor

    @classmethod
    def of(
        cls, references: Blocks, like: Tensor, transform: Transform | None = None, mask: Tensor | None = None
    ) -> DistanceBounds:
        """The bounds of references.

        Args:
            references: as in ``read_chunks``, at least one, and so are ``like`` and ``transform``.
            mask: 1 where values count and 0 elsewhere, shape (D,); None for everywhere.
        """
        count = count_rows(references)
        chosen = torch.linspace(0, count - 1, min(SAMPLE, count), dtype=torch.float64).long().unique()
        read = read_rows(references, chosen, like, transform)
        sample = masked(torch.cat([chunk.clone() for _, chunk in read]), mask)
        centre, basis = _principal(sample[sample.isfinite().all(1)])
        empty = like.new_empty(0)
        return cls(centre, basis, empty, empty)._with(references, like, transform, mask)

    def joined(
        self, references: Blocks, like: Tensor, transform: Transform | None, mask: Tensor | None
    ) -> DistanceBounds:
        """With further references, numbered after these."""
        more = self._with(references, like, transform, mask)
        coordinates = torch.cat([self.coordinates, more.coordinates])
        return replace(self, coordinates=coordinates, squares=torch.cat([self.squares, more.squares]))

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
        coordinates, squares = like.new_empty(count, len(self.basis) + 1), like.new_empty(count)
        for offset, chunk in read_chunks(references, like, transform):
            place = slice(offset, offset + len(chunk))
            coordinates[place], squares[place] = self._of(masked(chunk, mask))
        return replace(self, coordinates=coordinates, squares=squares)

    def _of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates of rows (n, D), (n, m + 1), and their squared norms, which are those of the rows less c."""
        offsets = rows - self.centre
        inside = offsets @ self.basis.T
        squares = torch.linalg.vector_norm(offsets, dim=1).square()
        rest = (squares - inside.square().sum(1)).clamp_min(0).sqrt()
        return torch.cat([inside, rest[:, None]], 1), squares


def _principal(sample: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and principal directions, shape (m, D), of a sample (n, D), by way of its n inner products."""
    if len(sample) == 0:
        return sample.new_zeros(sample.shape[1]), sample.new_zeros(0, sample.shape[1])
    centre = sample.mean(0)
    offsets = sample - centre
    offsets /= offsets.abs().max().clamp_min(torch.finfo(offsets.dtype).tiny)
    variances, vectors = torch.linalg.eigh((offsets @ offsets.T).double().cpu())
    kept = min(DIMENSIONS, int((variances > MIN_VARIANCE * variances[-1]).sum()))
    directions = vectors[:, len(variances) - kept :].flip(1).to(offsets).T @ offsets
    # The products of close variances are orthogonal up to rounding alone; bounds need better.
    return centre, torch.linalg.qr(directions.T)[0].T.contiguous()
