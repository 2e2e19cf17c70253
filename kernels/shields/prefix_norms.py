"""References ruled out by a part of their values: a sum of squares never exceeds the sum over more columns.

Shields are small beside the distance of unrelated pictures, so a quarter of the values tells of nearly every reference
that it is too far away. Nothing else of it is read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..precision import product_rounding
from .field import (
    Contacts,
    ShieldField,
    check_radius,
    shield_field,
    squared_norms,
)
from .reference_blocks import (
    Blocks,
    Elementwise,
    read_chunks,
    read_rows,
)

LEADING_SHARE = 4
"""One in so many columns is looked at first; shields of half the typical distance are about where it stops paying."""

FEW, SHARE_KEPT = 64, 32
"""References that are left are copied; where more than FEW and one in SHARE_KEPT are left, all are read instead."""

FEWEST_COLUMNS = 256
"""With fewer leading columns the look costs as much as it saves."""


@dataclass(frozen=True)
class Leading:
    """The first columns of references, as far as they do not change during a run.

    Attributes:
        columns: how many.
        norms: squared L2 norms of these columns after the transform, shape (N,).
        transform: maps references to the space of the estimates.
    """

    columns: int
    norms: Tensor
    transform: Elementwise | None = None

    def joined(self, references: Blocks, like: Tensor) -> Leading:
        """With the first columns of further references, numbered after these."""
        further = squared_norms(references, like, self.transform, self.columns)
        return replace(self, norms=torch.cat([self.norms, further]))


def leading_columns(references: Blocks, like: Tensor, transform: Elementwise | None = None) -> Leading | None:
    """Prepare to rule references out; None where rows are too short for that to pay.

    Args:
        references: shape (N, ...) or several such blocks.
        like: shape (B, D); gives dtype, device and D.
        transform: maps references to the space of the estimates.
    """
    columns = like.shape[1] // LEADING_SHARE
    if columns < FEWEST_COLUMNS:
        return None
    return Leading(columns, squared_norms(references, like, transform, columns), transform)


def sparse_field(
    points: Tensor,
    references: Blocks,
    radius: float,
    leading: Leading,
    *,
    norms: Tensor | None = None,
) -> ShieldField:
    """The field of ``shield_field``, reading as a whole only the references that a part does not rule out.

    Args:
        points: estimates, shape (B, D), float32 or float64.
        references: those that ``leading`` was prepared from.
        radius: of every shield.
        leading: from ``leading_columns``; its transform is the one applied.
        norms: as in ``shield_field``.

    Returns:
        The same push and contacts. Of an estimate outside every shield, ``nearest`` may be a lower bound of the
        distance, never below the radius, and ``nearest_index`` is -1 then.

    Raises:
        ValueError: the radius is negative or not a number, or the shapes do not fit.
    """
    check_radius(radius)
    rows, bound = _not_excluded(points, references, radius, leading)
    if len(rows) > max(FEW, len(leading.norms) // SHARE_KEPT):
        return shield_field(points, references, radius, norms=norms, transform=leading.transform)
    kept = [chunk.clone() for _, chunk in read_rows(references, rows, points, leading.transform)]
    field = shield_field(points, kept, radius, norms=None if norms is None else norms[rows])
    contacts = Contacts(field.contacts.rows, rows[field.contacts.references], field.contacts.distances)
    index = field.nearest_index
    if len(rows):
        index = torch.where((index >= 0) & (field.nearest <= bound), rows[index], -1)
    return ShieldField(field.delta, torch.minimum(field.nearest, bound), index, contacts)


def _not_excluded(points: Tensor, references: Blocks, radius: float, leading: Leading) -> tuple[Tensor, Tensor]:
    """Numbers of the references that may be inside, (M,), ascending; for each point a bound of the others' distance."""
    first = points[:, : leading.columns].contiguous()
    point_norms = first.square().sum(1, keepdim=True)
    slack = product_rounding(leading.columns)
    bound = points.new_full((len(points),), math.inf)
    # Filled in place: small results kept between the chunks would keep the heap from using their memory again.
    near = torch.empty(len(leading.norms), dtype=torch.bool, device=points.device)
    for offset, chunk in read_chunks(references, points, leading.transform, leading.columns):
        place = slice(offset, offset + len(chunk))
        scale = point_norms + leading.norms[place]
        least = torch.addmm(scale, first, chunk.T, alpha=-2) - slack * scale
        torch.any(least <= radius * radius, dim=0, out=near[place])
        ruled_out = least.masked_fill(near[place] | least.isnan(), math.inf)
        torch.minimum(bound, ruled_out.amin(1), out=bound)
    return near.nonzero().squeeze(1), bound.sqrt()
