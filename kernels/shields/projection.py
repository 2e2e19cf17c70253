"""Out of every shield at once, overlapping ones included: what arXiv 2410.06025 leaves open.

The sum of pushes of equation 5 can carry an estimate out of one shield into the next, or stall between two. Here an
estimate that is still inside leaves along a ray. Shields cut intervals out of a ray, their union is bounded, so its
first gap always exists and is found exactly; of several rays the shortest way out is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .field import (
    Contacts,
    batch_field,
    check_radius,
    fixed_direction,
    shield_field,
    working_points,
)
from .reference_blocks import (
    Blocks,
    Transform,
    count_rows,
    read_chunks,
)

MARGINS = (1e-5, 1e-4, 1e-3, 1e-2)
"""Relative margins beyond the radius, tried in turn: rounding to half precision can undo a smaller one."""

SURFACE = 1e-6
"""Relative distance from the radius within which float32 cannot tell inside from outside: it counts as inside."""

NEAREST_TRIED = 3
"""Rays straight away from that many nearest references are tried beside the sum of pushes."""


@dataclass(frozen=True)
class Clearance:
    """Estimates outside the shields, and what could not be satisfied.

    Attributes:
        estimates: shape, dtype and device of what was given; the very same tensor where nothing had to move.
        violations: pairs still inside a shield; references count the fixed ones first, then the batch's members.
        moved: L2 length of every estimate's move, shape (B,).
    """

    estimates: Tensor
    violations: Contacts
    moved: Tensor

    @property
    def cleared(self) -> bool:
        """Whether every estimate is outside every shield."""
        return len(self.violations) == 0


def clear_shields(
    estimates: Tensor,
    references: Blocks,
    radius: float,
    *,
    in_batch: bool = False,
    movable: Tensor | None = None,
    max_move: float | None = None,
    norms: Tensor | None = None,
    transform: Transform | None = None,
) -> Clearance:
    """Move every estimate outside every shield.

    Args:
        estimates: shape (B, ...), any floating dtype.
        references: centres of the shields, shape (N, ...) or several such blocks; N may be 0.
        radius: of every shield, in the units of the latents.
        in_batch: whether the estimates must keep the radius from one another too; both members of a pair move.
        movable: shape (D,), 1 where the latents may change and 0 where a mask holds them; the transform must then zero
            the references, and the caller the estimates, where it is 0, so that distances ignore what cannot move.
        max_move: longest move allowed for an estimate; what it forbids is reported as violated.
        norms: squared norms of the transformed references where they are at hand.
        transform: maps a chunk of references to the space of the estimates.

    Returns:
        The clearance. ``cleared`` is checked on the returned estimates, in their own dtype.

    Raises:
        ValueError: the radius is negative or not a number, or the shapes do not fit.
    """
    check_radius(radius)
    start = working_points(estimates)
    points = start.clone()
    stored = estimates

    def doubtful() -> Contacts:
        current, surface = working_points(stored), radius * (1 + SURFACE)
        fixed = shield_field(current, references, surface, norms=norms, transform=transform)
        if not in_batch:
            return fixed.contacts
        among = batch_field(current, surface).contacts
        count = count_rows(references)
        shifted = Contacts(among.rows, among.references + count, among.distances)
        return Contacts.joined([fixed.contacts, shifted], points)

    found = doubtful()
    if len(found) == 0:
        return Clearance(estimates, found, points.new_zeros(len(points)))
    target = radius * (1 + MARGINS[0])
    push = shield_field(start, references, target, norms=norms, transform=transform).delta
    if in_batch:
        push += 0.5 * batch_field(start, target).delta
    # Coincident points are pushed in a direction that knows nothing of the mask.
    points += push if movable is None else push * movable
    for margin in MARGINS:
        stored = _limited(start, points, max_move).view(estimates.shape).to(estimates.dtype)
        found = doubtful()
        stuck = sorted(set(found.rows.tolist()))
        if not stuck:
            break
        for row in stuck:
            others = torch.cat([points[:row], points[row + 1 :]]) if in_batch else points[:0]
            points[row] = _escape(points[row], row, references, others, radius * (1 + margin), transform, movable)
    else:
        stored = _limited(start, points, max_move).view(estimates.shape).to(estimates.dtype)
        found = doubtful()
    return Clearance(stored, found.within(radius), (working_points(stored) - start).norm(dim=1))


def _escape(
    point: Tensor,
    row: int,
    references: Blocks,
    others: Tensor,
    radius: float,
    transform: Transform | None,
    movable: Tensor | None,
) -> Tensor:
    """The end of the shortest of several rays out of all shields, shape (D,); the point itself if nothing may move."""
    rays = _rays(point, row, references, others, radius, transform, movable)
    if len(rays) == 0:
        return point
    along = point.new_empty((count_rows(references) + len(others), len(rays)))
    squares = along.new_empty(len(along))
    done = 0
    for chunk in _all_chunks(references, others, point, transform):
        differences = point - chunk
        place = slice(done, done + len(chunk))
        along[place] = differences @ rays.T
        squares[place] = differences.square().sum(1)
        done += len(chunk)
    components = along.double().cpu().numpy()
    gaps = squares.double().cpu().numpy()
    lengths = [_first_gap(components[:, ray], gaps, radius) for ray in range(len(rays))]
    best = int(np.argmin(lengths))
    return point + lengths[best] * rays[best]


def _rays(
    point: Tensor,
    row: int,
    references: Blocks,
    others: Tensor,
    radius: float,
    transform: Transform | None,
    movable: Tensor | None,
) -> Tensor:
    """Unit directions worth trying, shape (K, D): the sum of pushes, away from the nearest, and a fixed one."""
    push = torch.zeros_like(point)
    away: list[tuple[float, Tensor]] = []
    for chunk in _all_chunks(references, others, point, transform):
        differences = point - chunk
        distances = differences.norm(dim=1)
        inside = (distances < radius).nonzero().squeeze(1)
        if len(inside) == 0:
            continue
        weights = radius / distances[inside].clamp_min(1e-12 * radius) - 1
        push += weights @ differences[inside]
        near = inside[distances[inside].argsort()[:NEAREST_TRIED]]
        away += [(float(distances[index]), differences[index].clone()) for index in near]
        away = sorted(away, key=lambda pair: pair[0])[:NEAREST_TRIED]
    contacts = torch.stack([push, *(difference for _, difference in away)])
    left, sizes, _ = torch.linalg.svd(contacts.T, full_matrices=False)
    basis = left[:, sizes > 1e-6 * radius]
    anywhere = fixed_direction(point, row, 0)
    if movable is not None:
        anywhere = anywhere * movable
    # Straight across is the short way out from between two shields, where the pushes cancel.
    across = anywhere - basis @ (basis.T @ anywhere)
    rays = torch.stack([*contacts, across, anywhere])
    lengths = rays.norm(dim=1)
    known = lengths > 1e-6 * torch.cat([lengths.new_full((len(contacts),), radius), lengths.new_ones(2)])
    return rays[known] / lengths[known, None]


def _first_gap(along: np.ndarray, squares: np.ndarray, radius: float) -> float:
    """Smallest t >= 0 at which x + t u is outside every ball, given (x - z).u and |x - z|^2 of every centre z."""
    discriminant = along**2 - squares + radius**2
    cut = discriminant > 0
    half = np.sqrt(discriminant[cut])
    enter, leave = -along[cut] - half, -along[cut] + half
    order = np.argsort(enter)
    position = 0.0
    for begin, end in zip(enter[order], leave[order], strict=True):
        if begin > position:
            break
        position = max(position, float(end))
    return position


def _all_chunks(references: Blocks, others: Tensor, like: Tensor, transform: Transform | None) -> Iterator[Tensor]:
    """The fixed references, then the other members of the batch."""
    for _, chunk in read_chunks(references, like[None], transform):
        yield chunk
    if len(others):
        yield others


def _limited(start: Tensor, points: Tensor, max_move: float | None) -> Tensor:
    """The points, no farther than ``max_move`` from where they started."""
    if max_move is None:
        return points
    move = points - start
    length = move.norm(dim=1, keepdim=True)
    return start + move * torch.where(length > max_move, max_move / length, 1.0)
