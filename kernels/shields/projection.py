"""Projection outside of all shields, overlapping ones included, which arXiv 2410.06025 leaves open.

The sum of pushes of equation 5 can move an estimate out of one shield into another, or stall between two. Here an
estimate that is still inside leaves along a ray. Each shield covers an interval of the ray, so that its first gap is
found exactly; the shortest of several rays is used.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .field import Contacts, batch_field, check_radius, fixed_direction, masked, shield_field, working_points
from .reference_blocks import Blocks, Transform, count_rows, read_chunks

MARGINS = (1e-5, 1e-4, 1e-3, 1e-2)
"""Relative margins beyond the radius, tried in turn; rounding to half precision can undo the smaller ones."""

SURFACE = 1e-6
"""Relative distance from the radius that counts as inside, as float32 cannot tell."""

NEAREST_TRIED = 3
"""Number of nearest references from which rays lead straight away, beside the sum of pushes."""


@dataclass(frozen=True)
class ProjectionResult:
    """Projected estimates, and what could not be satisfied.

    Attributes:
        estimates: in the shape, dtype and device of the given ones; the very same tensor if nothing had to move.
        violations: pairs still inside a shield; references first, then the members of the batch.
        moved: L2 norm of every estimate's displacement, shape (B,).
    """

    estimates: Tensor
    violations: Contacts
    moved: Tensor

    @property
    def cleared(self) -> bool:
        """Whether every estimate is outside every shield."""
        return len(self.violations) == 0


def project_outside(
    estimates: Tensor,
    references: Blocks,
    radius: float | Tensor,
    *,
    batch_radius: float | Tensor | None = None,
    mask: Tensor | None = None,
    norms: Tensor | None = None,
    transform: Transform | None = None,
) -> ProjectionResult:
    """Move every estimate outside every shield.

    Args:
        estimates: shape (B, ...), any floating dtype; zero where the mask is 0.
        references: centres of the shields, shape (N, ...) or several such blocks; N may be 0.
        radius: of every shield, in the units of the latents, or one for each estimate, shape (B,).
        batch_radius: distance between any two estimates, both of which move, or one for each pair, symmetric, shape
            (B, B); None for none.
        mask: 1 where an estimate may change and 0 elsewhere, shape (B, D); distances ignore the rest. A pair of
            estimates is compared where both may change. What may change nowhere counts as outside: guarantees must
            exclude it.
        norms: squared norms of the references under transform and mask, if they are known.
        transform: maps a chunk of references to the space of the estimates.

    Returns:
        The result. ``cleared`` is checked on the returned estimates, in their own dtype.

    Raises:
        ValueError: a radius is negative or not a number, or the shapes do not fit.
    """
    check_radius(radius)
    start = working_points(estimates)
    points = start.clone()
    stored = estimates
    radii = torch.as_tensor(radius, dtype=start.dtype, device=start.device).expand(len(start))
    among = start[:0, :0]
    if batch_radius is not None:
        among = torch.as_tensor(batch_radius, dtype=start.dtype, device=start.device).expand(len(start), len(start))
    count = count_rows(references)

    def doubtful() -> Contacts:
        current = working_points(stored)
        contacts = shield_field(
            current, references, radii * (1 + SURFACE), mask=mask, norms=norms, transform=transform
        ).contacts
        if batch_radius is None:
            return contacts
        members = batch_field(current, among * (1 + SURFACE), mask).contacts
        return Contacts(
            torch.cat([contacts.rows, members.rows]),
            torch.cat([contacts.references, members.references + count]),
            torch.cat([contacts.distances, members.distances]),
        )

    def inside(found: Contacts) -> Contacts:
        limit = radii[found.rows]
        if batch_radius is not None:
            pairs = among[found.rows, (found.references - count).clamp_min(0)]
            limit = torch.where(found.references < count, limit, pairs)
        return found.take(found.distances < limit)

    found = doubtful()
    if len(found) == 0:
        return ProjectionResult(estimates, found, points.new_zeros(len(points)))
    grown = 1 + MARGINS[0]
    points += shield_field(start, references, radii * grown, mask=mask, norms=norms, transform=transform).delta
    if batch_radius is not None:
        points += 0.5 * batch_field(start, among * grown, mask).delta
    for margin in MARGINS:
        stored = points.view(estimates.shape).to(estimates.dtype)
        found = doubtful()
        stuck = sorted(set(found.rows.tolist()))
        if not stuck:
            break
        for row in stuck:
            shields = _Shields(points, row, references, radii, among, mask, transform, 1 + margin)
            points[row] = _escape(points[row], shields)
    else:
        stored = points.view(estimates.shape).to(estimates.dtype)
        found = doubtful()
    return ProjectionResult(stored, inside(found), (working_points(stored) - start).norm(dim=1))


@dataclass(frozen=True)
class _Shields:
    """The shields that one estimate must leave: those of the references, then those of the other estimates."""

    points: Tensor
    row: int
    references: Blocks
    radii: Tensor
    among: Tensor
    mask: Tensor | None
    transform: Transform | None
    grown: float

    @property
    def radius(self) -> float:
        """Radius of the references' shields."""
        return float(self.radii[self.row]) * self.grown

    @property
    def free(self) -> Tensor | None:
        """1 where the estimate may change, shape (D,)."""
        return None if self.mask is None else self.mask[self.row]

    def chunks(self) -> Iterator[tuple[Tensor, Tensor | None, Tensor]]:
        """Differences to some centres (n, D), their masks (D,) or (n, D), and their radii (n,)."""
        point = self.points[self.row]
        for _, chunk in read_chunks(self.references, point[None], self.transform):
            yield masked(point - chunk, self.free), self.free, point.new_full((len(chunk),), self.radius)
        if len(self.among) > 1:
            others = torch.arange(len(self.points), device=point.device) != self.row
            shared = None if self.mask is None else self.mask[others] * self.mask[self.row]
            yield masked(point - self.points[others], shared), shared, self.among[self.row, others] * self.grown


def _escape(point: Tensor, shields: _Shields) -> Tensor:
    """The end of the shortest ray out of all shields, shape (D,); the point itself if there is none."""
    rays = _rays(point, shields)
    if len(rays) == 0:
        return point
    along, squares, rates, radii = [], [], [], []
    for differences, where, reach in shields.chunks():
        along.append((differences @ rays.T).double().cpu().numpy())
        squares.append(differences.square().sum(1).double().cpu().numpy())
        # Only the part of a ray under the mask moves away from a centre.
        rate = rays.square().sum(1).expand(len(differences), -1)
        if where is not None and where.ndim == 2:
            rate = where @ rays.square().T
        rates.append(rate.double().cpu().numpy())
        radii.append(reach.double().cpu().numpy())
    a, s, r, reaches = (np.concatenate(parts) for parts in (along, squares, rates, radii))
    ends = [_first_gap(a[:, ray], s, r[:, ray], reaches) for ray in range(len(rays))]
    best = int(np.argmin(ends))
    return point + ends[best] * rays[best] if math.isfinite(ends[best]) else point


def _rays(point: Tensor, shields: _Shields) -> Tensor:
    """Unit directions to try, shape (K, D): the sum of pushes, away from the nearest, and a fixed one."""
    push = torch.zeros_like(point)
    away: list[tuple[float, Tensor]] = []
    largest = shields.radius
    for differences, _, radii in shields.chunks():
        distances = differences.norm(dim=1)
        inside = (distances < radii).nonzero().squeeze(1)
        if len(inside) == 0:
            continue
        largest = max(largest, float(radii.max()))
        weights = radii[inside] / torch.maximum(distances[inside], 1e-12 * radii[inside]) - 1
        push += weights @ differences[inside]
        near = inside[distances[inside].argsort()[:NEAREST_TRIED]]
        away += [(float(distances[index]), differences[index].clone()) for index in near]
        away = sorted(away, key=lambda pair: pair[0])[:NEAREST_TRIED]
    contacts = torch.stack([push, *(difference for _, difference in away)])
    left, sizes, _ = torch.linalg.svd(contacts.T, full_matrices=False)
    basis = left[:, sizes > 1e-6 * largest]
    anywhere = masked(fixed_direction(point, shields.row, 0), shields.free)
    # Between two shields the pushes cancel, and the shortest way out is perpendicular to them.
    across = anywhere - basis @ (basis.T @ anywhere)
    rays = torch.stack([*contacts, across, anywhere])
    sizes = rays.norm(dim=1)
    known = sizes > 1e-6 * torch.cat([sizes.new_full((len(contacts),), largest), sizes.new_ones(2)])
    return rays[known] / sizes[known, None]


def _first_gap(along: np.ndarray, squares: np.ndarray, rates: np.ndarray, radii: np.ndarray) -> float:
    """Smallest t >= 0 at which x + t u is outside every ball, infinity where there is none."""
    # For each centre z: along is (x - z).u, squares |x - z|^2, and rates |u|^2 where x and z are compared.
    still = rates < 1e-12
    if bool((squares[still] < radii[still] ** 2).any()):
        return math.inf
    discriminant = along**2 - rates * (squares - radii**2)
    cut = (discriminant > 0) & ~still
    half = np.sqrt(discriminant[cut])
    enter, leave = (-along[cut] - half) / rates[cut], (-along[cut] + half) / rates[cut]
    position = 0.0
    for index in np.argsort(enter):
        if enter[index] > position:
            break
        position = max(position, float(leave[index]))
    return position
