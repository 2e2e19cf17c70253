"""Distances and pushes of shields, exact at the surface (arXiv 2410.06025, equations 5 and 8).

The published listing forms all differences x - z, a tensor of size batch x references x latent. Here distances come
from a matrix product, a chunk of references at a time, and the sum of pushes from a second one, (sum_k w_k) x - W Z,
for the references that push. Where a product would lose the deciding digits (close pairs, pairs at the radius) the
difference itself is computed, one estimate at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..precision import product_rounding
from .reference_blocks import Blocks, Transform, count_rows, read_chunks, read_rows

CLOSE = 0.02
"""Pairs with |x - z|^2 up to this fraction of |x|^2 + |z|^2 are measured from their difference."""


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

    def take(self, chosen: Tensor) -> Contacts:
        """The pairs of a mask (P,)."""
        return Contacts(self.rows[chosen], self.references[chosen], self.distances[chosen])

    @classmethod
    def inside(cls, distances: Tensor, radius: Tensor) -> Contacts:
        """The pairs of a distance matrix (B, N) that are below the radius, which broadcasts to it."""
        rows, references = (distances < radius).nonzero(as_tuple=True)
        return cls(rows, references, distances[rows, references])


@dataclass(frozen=True)
class ShieldField:
    """Distances and pushes of shields for a set of estimates.

    Attributes:
        delta: the push, shape (B, D).
        nearest: L2 distance of each estimate to its nearest reference, shape (B,); infinity for none.
        nearest_index: index of that reference, shape (B,); -1 for none.
        contacts: all pairs inside a shield.
    """

    delta: Tensor
    nearest: Tensor
    nearest_index: Tensor
    contacts: Contacts


def shield_field(
    points: Tensor,
    references: Blocks,
    radius: float | Tensor,
    *,
    mask: Tensor | None = None,
    norms: Tensor | None = None,
    transform: Transform | None = None,
) -> ShieldField:
    """Equation 5 with distances and contacts, exact at the surface.

    Args:
        points: estimates, shape (B, D), float32 or float64; zero where the mask is 0.
        references: shape (N, ...) or several such blocks, any floating dtype; each is read once, and those that push
            once more.
        radius: of every shield, or one for each estimate, shape (B,).
        mask: 1 where values count and 0 elsewhere, shape (B, D); None for everywhere. Estimates of which nothing counts
            are infinitely far from everything.
        norms: from ``squared_norms``, if they are known.
        transform: maps a chunk of references to the space of the points.

    Raises:
        ValueError: a radius is negative or not a number, or the shapes do not fit.
    """
    check_radius(radius)
    reach = torch.as_tensor(radius, dtype=points.dtype, device=points.device).expand(len(points))[:, None]
    squares, scale = _squared_distances(points, references, mask, norms, transform)
    slack = product_rounding(max(points.shape[1], 1)) * scale
    near = squares < reach.square() + slack
    doubtful = near & ((squares <= CLOSE * scale) | (squares > reach.square() - slack))
    distances = squares.clamp_min(0).sqrt()
    delta = torch.zeros_like(points)
    for numbers, chunk in read_rows(references, near.any(0).nonzero().squeeze(1), points, transform):
        unsure = doubtful[:, numbers]
        pull, exact = _remeasured(points, chunk, unsure, distances[:, numbers], reach, numbers, mask)
        distances[:, numbers] = exact
        weights = torch.where((exact < reach) & ~unsure, reach / exact - 1, 0.0)
        delta += pull + masked(weights.sum(1, keepdim=True) * points - weights @ chunk, mask)
    nearest, nearest_index = nearest_of(distances)
    return ShieldField(delta, nearest, nearest_index, Contacts.inside(distances, reach))


def batch_field(points: Tensor, radius: float | Tensor, mask: Tensor | None = None) -> ShieldField:
    """Equation 8 with distances and contacts; the references are the points themselves.

    Args:
        points: estimates, shape (B, D), float32 or float64.
        radius: of the shield around every point, or one for each pair, symmetric, shape (B, B).
        mask: 1 where a point may change and 0 elsewhere, shape (B, D). A pair is compared where both may, and is
            infinitely far apart if that is nowhere.

    Raises:
        ValueError: a radius is negative or not a number.
    """
    check_radius(radius)
    reach = torch.as_tensor(radius, dtype=points.dtype, device=points.device).expand(len(points), len(points))
    delta = torch.zeros_like(points)
    distances = points.new_full((len(points), len(points)), math.inf)
    for row in range(len(points) - 1):
        # Each pair once, so that its two pushes are exactly opposite.
        shared = None if mask is None else mask[row] * mask[row + 1 :]
        differences = masked(points[row] - points[row + 1 :], shared)
        exact = lengths(differences)
        if shared is not None:
            exact[~shared.any(1)] = math.inf
        distances[row, row + 1 :] = distances[row + 1 :, row] = exact
        inside = (exact < reach[row, row + 1 :]).nonzero().squeeze(1)
        if len(inside):
            others = row + 1 + inside
            where = None if shared is None else shared[inside]
            found = pushes(differences[inside], exact[inside], reach[row, others], row, others.tolist(), where)
            delta[row] += found.sum(0)
            delta[others] -= found
    nearest, nearest_index = nearest_of(distances)
    return ShieldField(delta, nearest, nearest_index, Contacts.inside(distances, reach))


def squared_norms(
    references: Blocks, like: Tensor, transform: Transform | None = None, mask: Tensor | None = None
) -> Tensor:
    """Squared L2 norm of every transformed reference; it is constant during a run.

    Args:
        references: this, ``like`` and ``transform`` as in ``read_chunks``.
        mask: 1 where values count and 0 elsewhere, shape (G, D); None for everywhere.

    Returns:
        Shape (N,), or (G, N) with a mask.
    """
    # Filled in place: small tensors kept between the chunks would prevent the heap from reusing their memory.
    norms = like.new_empty((1 if mask is None else len(mask), count_rows(references)))
    for offset, chunk in read_chunks(references, like, transform):
        place = norms[:, offset : offset + len(chunk)]
        squares = chunk.square()
        place.copy_(squares.sum(1) if mask is None else mask @ squares.T)
    return norms[0] if mask is None else norms


def working_points(estimates: Tensor) -> Tensor:
    """Estimates as rows (B, D) in at least float32, as half precision cannot hold a squared norm."""
    return estimates.flatten(1).to(torch.promote_types(estimates.dtype, torch.float32))


def check_radius(radius: float | Tensor) -> None:
    """Raise ValueError unless every radius is a finite number of at least zero."""
    radii = torch.as_tensor(radius, dtype=None if isinstance(radius, Tensor) else torch.float64)
    if not bool((radii.isfinite() & (radii >= 0)).all()):
        raise ValueError(
            f"The shield radius must be a number of at least 0, not {radius}: set it to 0 to switch it off."
        )


def fixed_direction(like: Tensor, row: int, reference: int) -> Tensor:
    """Unit vector, shape (D,), for coincident points; it depends only on the pair of indices."""
    generator = torch.Generator("cpu").manual_seed((row + 1) * 1_000_003 + reference)
    direction = torch.randn(like.shape[-1], generator=generator, dtype=torch.float64)
    return (direction / direction.norm()).to(like)


def masked(values: Tensor, mask: Tensor | None) -> Tensor:
    """Multiply values (n, D) by a mask, shape (n, D) or (D,), if there is one."""
    return values if mask is None else values * mask


def lengths(differences: Tensor) -> Tensor:
    """L2 norm of every row; ``torch.norm`` loses two more digits for rows of a million values."""
    return differences.square().sum(-1).sqrt()


def pushes(
    differences: Tensor, distances: Tensor, radius: Tensor, row: int, references: Sequence[int], mask: Tensor | None
) -> Tensor:
    """The terms of equation 5 for one estimate and the references in whose shields it is, shape (n, D).

    Args:
        differences: estimate minus reference, shape (n, D), zero where the mask is 0.
        distances: norms of the differences, shape (n,).
        radius: of the shields, shape () or (n,).
        row: index of the estimate; with ``references`` it fixes the directions of coincident pairs.
        references: indices of the references.
        mask: 1 where the pairs are compared, shape (D,) or (n, D); None for everywhere.
    """
    found = (radius / distances - 1)[:, None] * differences
    for index in (distances == 0).nonzero().squeeze(1).tolist():
        where = None if mask is None else mask.expand_as(found)[index]
        direction = masked(fixed_direction(found, row, references[index]), where)
        found[index] = radius.expand(len(found))[index] * direction / direction.norm().clamp_min(1e-12)
    return found


def nearest_of(distances: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest distance in every row and its column; infinity and -1 for none."""
    if distances.shape[1] == 0:
        return distances.new_full((len(distances),), math.inf), distances.new_full((len(distances),), -1).long()
    known = torch.where(distances.isnan(), math.inf, distances)
    nearest, index = known.min(1)
    return nearest, torch.where(nearest.isfinite(), index, -1)


def _squared_distances(
    points: Tensor, references: Blocks, mask: Tensor | None, norms: Tensor | None, transform: Transform | None
) -> tuple[Tensor, Tensor]:
    """|x|^2 + |z|^2 - 2 x.z, and its first two terms, each (B, N), in one read of the references."""
    point_norms = points.square().sum(1, keepdim=True)
    squares = points.new_empty((len(points), count_rows(references)))
    scale = torch.empty_like(squares)
    for offset, chunk in read_chunks(references, points, transform):
        place = slice(offset, offset + len(chunk))
        if norms is None:
            found = chunk.square().sum(1) if mask is None else mask @ chunk.square().T
        else:
            found = norms[..., place]
        scale[:, place] = point_norms + found
        squares[:, place] = torch.addmm(scale[:, place], points, chunk.T, alpha=-2)
    if mask is not None:
        squares[~mask.any(1)] = math.inf
    return squares, scale


def _remeasured(
    points: Tensor,
    chunk: Tensor,
    doubtful: Tensor,
    distances: Tensor,
    radius: Tensor,
    numbers: Tensor,
    mask: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Pushes and distances of the doubtful pairs from their differences."""
    delta = torch.zeros_like(points)
    for row in doubtful.any(1).nonzero().squeeze(1).tolist():
        columns = doubtful[row].nonzero().squeeze(1)
        where = None if mask is None else mask[row]
        differences = masked(points[row] - chunk[columns], where)
        exact = lengths(differences)
        distances[row, columns] = exact
        inside = exact < radius[row]
        references = numbers[columns[inside]].tolist()
        delta[row] = pushes(differences[inside], exact[inside], radius[row], row, references, where).sum(0)
    return delta, distances
