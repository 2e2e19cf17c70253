"""Points and the shields of a run under the denoise mask: pushes, depths, and the projection outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from ...kernels import repellency
from ...kernels.shields.drift_bounds import MAX_CHOSEN
from ...kernels.shields.field import Contacts, ShieldField, batch_field, nearest_of, shield_field, working_points
from ...kernels.shields.reference_blocks import read_chunks, read_rows
from ..base import DenoiseMask
from ..references import References

ROUNDS = 64
"""Largest number of rounds in which projected points are searched for further shields and projected again."""

Search = Callable[[Tensor, Tensor, References], References]
"""Maps points (B, D), the radius of each (B,) and known references to these and all others that may be near."""


@dataclass(frozen=True)
class Radii:
    """The radii of shields, for each sample, as distances under a mask are smaller.

    Attributes:
        fixed: of the references' shields, shape (B,).
        pairs: required distances between two samples, symmetric, shape (B, B); None for none.
    """

    fixed: Tensor
    pairs: Tensor | None

    @classmethod
    def for_batch(
        cls, whole: float, batch_size: int, mask: DenoiseMask | None, *, relative: bool, in_batch: bool
    ) -> Radii:
        """Radii under a mask from the radius ``whole`` of a whole latent.

        With ``relative`` they shrink with the root of the free fraction, as distances do.
        """
        like = torch.full((batch_size,), whole) if mask is None else mask.rows.new_full((batch_size,), whole)
        pairs = like.expand(batch_size, -1) if in_batch else None
        if mask is None:
            return cls(like, pairs)
        fractions = [mask.fractions, mask.common_fractions]
        fixed, common = (each.sqrt() if relative else (each > 0).float() for each in fractions)
        return cls(whole * fixed, None if pairs is None else whole * common)

    def to(self, device: torch.device) -> Radii:
        """The same radii on a device."""
        return Radii(self.fixed.to(device), None if self.pairs is None else self.pairs.to(device))


@dataclass(frozen=True)
class Shields:
    """Points, and all shields in which they may be.

    Attributes:
        points: shape (B, D), any floating dtype; zero where the mask is 0.
        radii: of the shields.
        references: centres of the shields, including all in whose shields points may be.
    """

    points: Tensor
    radii: Radii
    references: References

    @classmethod
    def around(cls, latents: Tensor, radii: Radii, references: References) -> Shields:
        """The shields around latents (B, C, ...) under the mask of the references."""
        points = latents.flatten(1)
        if references.mask is not None:
            points = points * references.mask.rows.to(points.dtype)
        return cls(points, radii.to(points.device), references)

    @property
    def mask(self) -> Tensor | None:
        """1 where points may change, shape (B, D)."""
        return None if self.references.mask is None else self.references.mask.rows

    @cached_property
    def fixed(self) -> ShieldField:
        """Distances and pushes of the references by ``kernels.repellency``: for sampling steps, not for guarantees."""
        x, radius = working_points(self.points), self.radii.fixed[:, None]
        delta, own = torch.zeros_like(x), x.square().sum(1, keepdim=True)
        known, chosen, bound = self.references, None, None
        if known.bounds is not None:
            chosen, bound = known.drift.near(known.bounds, x, self.radii.fixed)
            if len(chosen) > MAX_CHOSEN * len(known):
                chosen = None
        if chosen is None:
            norms, read = known.norms, read_chunks(known.blocks, x, known.transform)
        else:
            norms, read = known.norms[..., chosen], read_rows(known.blocks, chosen, x, known.transform)
        # Filled in place: small tensors kept between the chunks would prevent the heap from reusing their memory.
        distances, end = x.new_empty(len(x), norms.shape[-1]), 0
        for _, z in read:
            place = slice(end, end := end + len(z))
            found = repellency.distances(x, z, norms[..., place], self.mask, own)
            distances[:, place] = found
            if bool((found < radius).any()):
                delta += repellency.push(x, z, found, radius, self.mask)
        if known.bounds is not None:
            known.drift.note(chosen, distances, own + norms)
        nearest, index = nearest_of(distances)
        contacts = Contacts.inside(distances, radius)
        if chosen is not None and bound is not None:
            contacts = replace(contacts, references=chosen[contacts.references])
            index = torch.where(nearest <= bound, torch.cat([chosen, chosen.new_tensor([-1])])[index], -1)
            nearest = torch.minimum(nearest, bound)
        return ShieldField(delta, nearest, index, contacts)

    @cached_property
    def among(self) -> ShieldField:
        """Distances and pushes among the points."""
        x = working_points(self.points)
        if self.radii.pairs is None:
            return batch_field(x[:0], 0.0)
        return batch_field(x, self.radii.pairs, self.mask)

    def push(self) -> Tensor:
        """Equation 5 plus half of equation 8, as both members of a pair move."""
        delta = self.fixed.delta
        return delta + 0.5 * self.among.delta if len(self.among.delta) else delta

    def nearest(self) -> Tensor:
        """Distance to the nearest reference or other point, shape (B,)."""
        fixed, among = self.fixed.nearest, self.among.nearest
        return torch.minimum(fixed, among) if len(among) else fixed

    def depth(self, others: Tensor | None = None) -> Tensor:
        """Depth of each point in its deepest shield, 0 at the surface and 1 in the centre, shape (B,).

        Args:
            others: which other points have a shield, bool (B,); None for all.
        """
        fixed = 1 - self.fixed.contacts.distances / self.contact_radii
        among = 1 - self.among.contacts.distances / self.pair_radii
        if others is not None:
            among = among * others[self.among.contacts.references]
        depth = torch.zeros_like(self.radii.fixed)
        depth.scatter_reduce_(0, self.fixed.contacts.rows, fixed, "amax")
        return depth.scatter_reduce_(0, self.among.contacts.rows, among, "amax")

    @property
    def contact_radii(self) -> Tensor:
        """The radius of every contact with a reference, shape (P,)."""
        return self.radii.fixed[self.fixed.contacts.rows]

    @property
    def pair_radii(self) -> Tensor:
        """The radius of every contact among the points, shape (P,)."""
        rows, others = self.among.contacts.rows, self.among.contacts.references
        return self.radii.fixed[rows] if self.radii.pairs is None else self.radii.pairs[rows, others]

    def exactly(self) -> Shields:
        """The same shields, with exact distances to every reference."""
        measured = replace(self)
        x, known = working_points(self.points), self.references
        measured.__dict__["fixed"] = shield_field(
            x, known.blocks, self.radii.fixed, mask=self.mask, norms=known.norms, transform=known.transform
        )
        return measured

    def project_outside(self, search: Search) -> Tensor:
        """Move points outside every shield where possible; guarantees must check the result.

        Args:
            search: finds further references, those only met on the way out included.

        Returns:
            Shape (B, D), in the points' dtype; the very same tensor where nothing had to move.
        """
        known = search(working_points(self.points), self.radii.fixed, self.references)
        outside = self.points
        for _ in range(ROUNDS):
            outside = repellency.project_outside(
                self.points,
                known.blocks,
                self.radii.fixed,
                batch_radius=self.radii.pairs,
                mask=self.mask,
                norms=known.norms,
                transform=known.transform,
            ).estimates
            met = search(working_points(outside), self.radii.fixed, known)
            if len(met) == len(known):
                break
            known = met
        return outside
