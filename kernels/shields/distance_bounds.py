"""Lower bounds of distances to references from a few numbers of each, so that most of a bank is never read.

For orthonormal rows B and y = x - c, |B y - B y'|^2 + (|y - B'B y| - |y' - B'B y'|)^2 <= |x - x'|^2: no reference in
a radius is missed. If B holds the principal directions of the references, the bound excludes nearly all others.
``projection_bounds`` is the same bound for a Protected Index, in float64 and on disk.
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
"""Coordinates kept of each reference, beside the norm of the residual."""

SAMPLE = 2 * DIMENSIONS
"""References from which the directions are computed."""

SAMPLE_ELEMENTS = 1 << 21
"""8 MB of float32. A sample that would be larger is one in ``SAMPLE_STRIDE`` references: few directions suffice."""

SAMPLE_STRIDE = 64
"""Stride of the sample if references are large."""

PARTS = ("coordinates", "squares", "norms")
"""What bounds hold of each reference."""

MIN_VARIANCE = 1e-5
"""Directions with less variance, relative to the first, are rounding."""


@dataclass(frozen=True)
class DistanceBounds:
    """The truncated coordinates of references.

    Attributes:
        centre: c, shape (D,).
        basis: B, orthonormal rows, shape (m, D).
        coordinates: B (z - c) of every reference and the norm of its residual, shape (N, m + 1).
        squares: squared norms of the coordinates, shape (N,).
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
            references: at least one; this, ``like`` and ``transform`` as in ``read_chunks``.
            mask: 1 where values count and 0 elsewhere, shape (D,); None for everywhere.
        """
        centre, basis = _principal(_sample(references, like, transform, mask))
        empty = like.new_empty(0)
        return cls(centre, basis, empty, empty, empty)._with(references, like, transform, mask)

    def concat(
        self, references: Blocks, like: Tensor, transform: Transform | None, mask: Tensor | None
    ) -> DistanceBounds:
        """The bounds of these references and then further ones."""
        more = self._with(references, like, transform, mask)
        return replace(self, **{part: torch.cat([getattr(self, part), getattr(more, part)]) for part in PARTS})

    def near(self, points: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
        """The references that may be within a radius of a point.

        Args:
            points: shape (B, D), zero where the mask is 0.
            radius: for each point, shape (B,).

        Returns:
            Their indices, (M,), ascending, and each point's lower bound of the distance to all others, (B,).
        """
        return apart(self.lower(points), radius)

    def lower(self, points: Tensor, numbers: Tensor | None = None) -> Tensor:
        """Lower bounds of the distances of points (B, D) to all references or to some, shape (B, N); NaN for none."""
        coordinates, squares = self._of(points)
        exact = 1 - product_rounding(coordinates.shape[1])
        theirs, own = self.coordinates, self.squares
        if numbers is not None:
            theirs, own = theirs[numbers], own[numbers]
        bounds = torch.addmm(exact * own, coordinates, theirs.T, alpha=-2)
        return bounds.add_((exact * squares)[:, None]).clamp_min_(0).sqrt_()

    def take(self, numbers: Tensor) -> DistanceBounds:
        """The bounds of the references with these numbers, in order."""
        return replace(self, **{part: getattr(self, part)[numbers] for part in PARTS})

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
        """Coordinates of rows (n, D), shape (n, m + 1), and the squared norms of the rows minus c, (n,)."""
        offsets = rows - self.centre
        inside = offsets @ self.basis.T
        squares = torch.linalg.vector_norm(offsets, dim=1).square()
        rest = (squares - inside.square().sum(1)).clamp_min(0).sqrt()
        return torch.cat([inside, rest[:, None]], 1), squares


def apart(lower: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """Tell references that may be within a radius from all others, by lower bounds of their distances.

    Args:
        lower: shape (B, N).
        radius: for each point, shape (B,).

    Returns:
        The indices of those, (M,), ascending, and each point's lower bound of the distance to all others, (B,).
    """
    numbers = (lower <= radius[:, None]).any(0).nonzero().squeeze(1)
    others = lower.index_fill(1, numbers, math.inf)
    # NaN in a point or a reference gives no bound.
    least = others.amin(1) if others.shape[1] else lower.new_full((len(lower),), math.inf)
    return numbers, least.nan_to_num(0.0, math.inf)


def _sample(references: Blocks, like: Tensor, transform: Transform | None, mask: Tensor | None) -> Tensor:
    """A sample of the references, shape (n, D), without rows that are not finite."""
    count = count_rows(references)
    limit = max(SAMPLE_ELEMENTS // like.shape[1], count // SAMPLE_STRIDE, 1)
    numbers = torch.linspace(0, count - 1, min(SAMPLE, count, limit), dtype=torch.float64).long().unique()
    sample, filled = like.new_empty(len(numbers), like.shape[1]), 0
    for _, chunk in read_rows(references, numbers, like, transform):
        chunk = masked(chunk, mask)
        chunk = chunk[chunk.sum(1).isfinite()]
        sample[filled : filled + len(chunk)] = chunk
        filled += len(chunk)
    return sample[:filled]


def _principal(sample: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and principal directions, shape (m, D), of a sample (n, D), from its Gram matrix (n, n)."""
    if len(sample) == 0:
        return sample.new_zeros(sample.shape[1]), sample.new_zeros(0, sample.shape[1])
    centre = sample.mean(0)
    # In place, and released before the directions are copied, to hold as little as possible.
    offsets = sample.sub_(centre)
    offsets /= torch.linalg.vector_norm(offsets, math.inf).clamp_min(torch.finfo(offsets.dtype).tiny)
    variances, vectors = torch.linalg.eigh((offsets @ offsets.T).double().cpu())
    kept = min(DIMENSIONS, int((variances > MIN_VARIANCE * variances[-1]).sum()))
    directions = vectors[:, len(variances) - kept :].flip(1).to(offsets).T @ offsets
    del sample, offsets
    # Directions of similar variance are orthogonal only up to rounding; bounds need more.
    return centre, torch.linalg.qr(directions.T)[0].T.contiguous()
