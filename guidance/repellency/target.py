"""The setting ``target``: how many images of a batch should be clearly different; the run finds how hard to push.

An image counts if it is clearly different from all references and from every earlier image of its batch that counts.
The estimates are counted in each evaluation. If too few count, others are pushed, those nearest to counting first, and
farther the more are missing. Images that count are only kept from ceasing to, and not pushed at all while there are
enough.

Distances are relative to the typical distance of the estimates. By them, estimates of the embedded model with
classifier-free guidance count like its final images at every noise level. Early estimates of a distilled model are
farther apart than its final images, so that they must be farther apart to count.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...kernels.scale import typical_distance
from ...kernels.shields.field import batch_field, working_points
from ..base import Need
from .shields import Radii, Shields

CLEARLY = 0.25
"""Final images farther apart than this fraction of the typical distance are clearly different: of the embedded models'
images of one mode 0 and 14 % are (base, distilled), of two modes 77 and 63 %."""

EARLY = (0.3, 1.0)
"""Relative surplus of that distance for the first estimates of a run, with classifier-free guidance and without. It
falls to 0 with the progress."""

RESERVE = (5.0, 2.0)
"""Further images pushed for each missing one at the start of a run, with classifier-free guidance and without, as some
fail; none at its end."""

BEYOND = 1.1
"""Smallest distance to which an image is pushed, relative to that from which it counts."""

HOLD = 1.25
"""Distance at which counting images are kept, relative to that from which they count, unless there are enough."""

GAIN = 3.0
"""Relative increase of the pushed distance at the start of a run in which all images are missing."""


class Target:
    """The count of one run.

    Args:
        wanted: how many images should be clearly different.
        batch_size: of the run.
        need: shared with prompt easing.

    Attributes:
        first: how many counted in the first evaluation with the prompt; None before.
        note: a warning about the number; "" for none.
    """

    def __init__(self, wanted: int, batch_size: int, need: Need) -> None:
        self.wanted = min(wanted, batch_size)
        self.note = (
            f"The target is {wanted} and the batch has {batch_size} images: it aims at {self.wanted}."
            if wanted > batch_size
            else ""
        )
        self.first: int | None = None
        self._need = need

    def notes(self) -> list[str]:
        """Sentences for the user about the count."""
        told = f"Clearly different means further apart than {CLEARLY:.0%} of unrelated images' typical distance."
        if self.first is None:
            return [told]
        return [told, f"{self.first} differed in the first estimate, before this node did anything."]

    def missing(self, counts: Tensor) -> int:
        """How many images are missing, given which count, shape (B,); negative if more count than needed."""
        found = int(counts.sum())
        if not self._need.silent:
            self.first = found if self.first is None else self.first
            self._need.short = found < self.wanted
        return self.wanted - found

    def reach(self, missing: int, progress: float) -> float:
        """Distance to which images are pushed, relative to that from which they count."""
        return BEYOND * (1 + GAIN * (1 - progress) * missing / self.wanted)

    def pushed(self, missing: int, progress: float, distilled: bool) -> int:
        """How many images are pushed for the missing ones."""
        return math.ceil(missing * (1 + RESERVE[distilled] * (1 - progress)))

    def headline(self, counts: Tensor) -> str:
        """How many of the final images count, given which do, shape (B,)."""
        found = int(counts.sum())
        return f"{found} of {len(counts)} images {'differs' if found == 1 else 'differ'} (target {self.wanted})"


def clear_distance(latents: Tensor, progress: float, distilled: bool) -> float:
    """Distance from which estimates (B, C, ...) are clearly different; progress 1 is the end of the run."""
    return CLEARLY * (1 + EARLY[distilled] * (1 - progress)) * typical_distance(latents)


def counted(shields: Shields) -> Tensor:
    """Which points count, shape (B,): those outside the shields of all references and of earlier counting points."""
    points = working_points(shields.points)
    counts = points.isfinite().all(1)
    if shields.mask is not None:
        counts &= shields.mask.any(1)
    counts[shields.fixed.contacts.rows] = False
    alike = counts.new_zeros(len(counts), len(counts))
    alike[shields.among.contacts.rows, shields.among.contacts.references] = True
    for row in range(1, len(counts)):
        counts[row] &= not bool((alike[row, :row] & counts[:row]).any())
    return counts


def wider(radii: Radii, counts: Tensor, reach: float) -> Radii:
    """Radii increased by ``HOLD`` between counting points and by ``reach`` for the others."""
    pairs = None
    if radii.pairs is not None:
        pairs = radii.pairs * torch.where(counts[:, None] & counts, HOLD, reach)
    return Radii(radii.fixed * torch.where(counts, HOLD, reach), pairs)


def movers(shields: Shields, counts: Tensor, number: int) -> Tensor:
    """Which points to push, shape (B,): non-counting ones with the least depth in shields of counting ones."""
    able = working_points(shields.points).isfinite().all(1) & ~counts
    order = torch.where(able, shields.depth(counts), math.inf).argsort(stable=True)
    chosen = torch.zeros_like(counts)
    chosen[order[:number]] = True
    return chosen & able


def push(shields: Shields, pushed: Tensor, counts: Tensor) -> Tensor:
    """The push out of the shields, shape (B, D): in full where one of a pair moves, half of it where both do."""
    delta, points = shields.fixed.delta, working_points(shields.points)
    if shields.radii.pairs is not None:
        one = pushed[:, None] & counts
        both = (pushed[:, None] & pushed) | (counts[:, None] & counts)
        held = 0.5 * batch_field(points, shields.radii.pairs * both, shields.mask).delta
        alone = batch_field(points, shields.radii.pairs * (one | one.T), shields.mask).delta
        delta = delta + held + torch.where(pushed[:, None], alone, 0.0)
    return torch.where((pushed | counts)[:, None], delta, 0.0)
