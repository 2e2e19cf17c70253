"""The field of shields: who is inside which ball and how it is pushed (arXiv 2410.06025, equations 5 and 8).

The published listing forms all differences x - z, a tensor of size batch x references x latent. Here distances come
from a matrix product, a chunk of references at a time, and the sum of pushes from a second one,
(sum_k w_k) x - W Z, only for the references that push. Where a product would lose the digits that decide (close
pairs, pairs at the radius) the difference itself is taken, one estimate at a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..precision import product_rounding
from .reference_blocks import (
    Blocks,
    Transform,
    count_rows,
    read_chunks,
    read_rows,
)

CLOSE = 0.02
"""Pairs with |x - z|^2 up to this share of |x|^2 + |z|^2 are measured from their difference."""


@dataclass(frozen=True)
class Contacts:
    """The pairs (estimate, reference) whose distance is below the radius.

    Attributes:
        rows: index of the estimate, shape (P,), int64.
        references: index of the reference, shape (P,), int64.
        distances: L2 distance, shape (P,).
    """

    rows: Tensor
    references: Tensor
    distances: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def within(self, radius: float) -> Contacts:
        """The pairs whose distance is below a smaller radius."""
        inside = self.distances < radius
        return Contacts(self.rows[inside], self.references[inside], self.distances[inside])

    @classmethod
    def joined(cls, parts: list[Contacts], like: Tensor) -> Contacts:
        """One after the other; empty where there are none."""
        none = torch.empty(0, dtype=torch.int64, device=like.device)
        return cls(
            torch.cat([none, *(part.rows for part in parts)]),
            torch.cat([none, *(part.references for part in parts)]),
            torch.cat([like.new_empty(0), *(part.distances for part in parts)]),
        )


@dataclass(frozen=True)
class ShieldField:
    """What the shields do to a set of estimates.

    Attributes:
        delta: the push, shape (B, D).
        nearest: L2 distance of each estimate to its nearest reference, shape (B,), infinity where there is none.
        nearest_index: index of that reference, shape (B,), -1 where there is none.
        contacts: every pair inside a shield.
    """

    delta: Tensor
    nearest: Tensor
    nearest_index: Tensor
    contacts: Contacts


def shield_field(
    points: Tensor,
    references: Blocks,
    radius: float,
    *,
    norms: Tensor | None = None,
    transform: Transform | None = None,
) -> ShieldField:
    """Equation 5 with everything that was found on the way.

    Args:
        points: estimates, shape (B, D), float32 or float64.
        references: shape (N, ...) or several such blocks, any floating dtype; each is read once, and those that push
            once more.
        radius: of every shield.
        norms: squared norms of the transformed references, shape (N,), where they are at hand (``squared_norms``).
        transform: maps a chunk of references to the space of the points.

    Raises:
        ValueError: the radius is negative or not a number, or the shapes do not fit.
    """
    check_radius(radius)
    squares, scale = _squared_distances(points, references, norms, transform)
    slack = product_rounding(max(points.shape[1], 1)) * scale
    near = squares < radius * radius + slack
    doubtful = near & ((squares <= CLOSE * scale) | (squares > radius * radius - slack))
    distances = squares.clamp_min(0).sqrt()
    delta = torch.zeros_like(points)
    for numbers, chunk in read_rows(references, near.any(0).nonzero().squeeze(1), points, transform):
        unsure = doubtful[:, numbers]
        pull, exact = _remeasured(points, chunk, unsure, distances[:, numbers], radius, numbers)
        distances[:, numbers] = exact
        weights = torch.where((exact < radius) & ~unsure, radius / exact - 1, 0.0)
        delta += pull + weights.sum(1, keepdim=True) * points - weights @ chunk
    rows, columns = (distances < radius).nonzero(as_tuple=True)
    nearest, nearest_index = _nearest(distances)
    return ShieldField(delta, nearest, nearest_index, Contacts(rows, columns, distances[rows, columns]))


def batch_field(points: Tensor, radius: float) -> ShieldField:
    """Equation 8 with everything that was found on the way; references are numbered as the points are.

    Args:
        points: estimates, shape (B, D), float32 or float64.
        radius: of the shield around every member.

    Raises:
        ValueError: the radius is negative or not a number.
    """
    check_radius(radius)
    delta = torch.zeros_like(points)
    distances = points.new_full((len(points), len(points)), math.inf)
    for row in range(len(points) - 1):
        # Each pair once, so that its two pushes are opposite to the last bit.
        differences = points[row] - points[row + 1 :]
        exact = _lengths(differences)
        distances[row, row + 1 :] = distances[row + 1 :, row] = exact
        inside = (exact < radius).nonzero().squeeze(1)
        if len(inside):
            others = row + 1 + inside
            pushes = _pushes(differences[inside], exact[inside], radius, row, others)
            delta[row] += pushes.sum(0)
            delta[others] -= pushes
    rows, columns = (distances < radius).nonzero(as_tuple=True)
    contacts = Contacts(rows, columns, distances[rows, columns])
    nearest, nearest_index = _nearest(distances)
    return ShieldField(delta, nearest, nearest_index, contacts)


def squared_norms(
    references: Blocks, like: Tensor, transform: Transform | None = None, columns: int | None = None
) -> Tensor:
    """Squared L2 norm of every (transformed) reference, shape (N,): constant during a run, so worth keeping.

    The other arguments are those of ``read_chunks``; with ``columns``, only the first ones count.
    """
    # Filled in place: small results kept between the chunks would keep the heap from using their memory again.
    norms = like.new_empty(count_rows(references))
    for offset, chunk in read_chunks(references, like, transform, columns):
        norms[offset : offset + len(chunk)] = chunk.square().sum(1)
    return norms


def working_points(estimates: Tensor) -> Tensor:
    """Estimates as rows (B, D) of at least float32: half precision cannot hold a squared norm."""
    return estimates.flatten(1).to(torch.promote_types(estimates.dtype, torch.float32))


def check_radius(radius: float) -> None:
    """Raise ValueError unless the radius is a finite number of at least zero."""
    if not (math.isfinite(radius) and radius >= 0):
        raise ValueError(
            f"The shield radius must be a number of at least 0, not {radius}: set it to 0 to switch it off."
        )


def fixed_direction(like: Tensor, row: int, reference: int) -> Tensor:
    """Unit vector, shape (D,), for points that coincide: always the same for the same pair of indices."""
    generator = torch.Generator("cpu").manual_seed((row + 1) * 1_000_003 + reference)
    direction = torch.randn(like.shape[-1], generator=generator, dtype=torch.float64)
    return (direction / direction.norm()).to(like)


def _squared_distances(
    points: Tensor, references: Blocks, norms: Tensor | None, transform: Transform | None
) -> tuple[Tensor, Tensor]:
    """|x|^2 + |z|^2 - 2 x.z and the first two terms alone, shape (B, N), in one read of the references."""
    point_norms = points.square().sum(1, keepdim=True)
    squares = points.new_empty((len(points), count_rows(references)))
    scale = torch.empty_like(squares)
    for offset, chunk in read_chunks(references, points, transform):
        place = slice(offset, offset + len(chunk))
        scale[:, place] = point_norms + (chunk.square().sum(1) if norms is None else norms[place])
        squares[:, place] = torch.addmm(scale[:, place], points, chunk.T, alpha=-2)
    return squares, scale


def _remeasured(
    points: Tensor, chunk: Tensor, doubtful: Tensor, distances: Tensor, radius: float, numbers: Tensor
) -> tuple[Tensor, Tensor]:
    """Pushes and distances of the doubtful pairs from their differences, at most one chunk of them at a time."""
    delta = torch.zeros_like(points)
    for row in doubtful.any(1).nonzero().squeeze(1).tolist():
        columns = doubtful[row].nonzero().squeeze(1)
        differences = points[row] - chunk[columns]
        exact = _lengths(differences)
        distances[row, columns] = exact
        inside = exact < radius
        delta[row] = _pushes(differences[inside], exact[inside], radius, row, numbers[columns[inside]]).sum(0)
    return delta, distances


def _pushes(differences: Tensor, distances: Tensor, radius: float, row: int, references: Tensor) -> Tensor:
    """The terms of the sum for one estimate and the references inside whose shields it is, shape (n, D)."""
    pushes = (radius / distances - 1)[:, None] * differences
    for index in (distances == 0).nonzero().squeeze(1).tolist():
        pushes[index] = radius * fixed_direction(pushes, row, int(references[index]))
    return pushes


def _lengths(differences: Tensor) -> Tensor:
    """L2 norm of every row; torch's own ``norm`` loses two digits more where rows have a million values."""
    return differences.square().sum(1).sqrt()


def _nearest(distances: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest distance in every row and its column; infinity and -1 where there is none."""
    if distances.shape[1] == 0:
        return distances.new_full((len(distances),), math.inf), distances.new_full((len(distances),), -1).long()
    known = torch.where(distances.isnan(), math.inf, distances)
    nearest, index = known.min(1)
    return nearest, torch.where(nearest.isfinite(), index, -1)
