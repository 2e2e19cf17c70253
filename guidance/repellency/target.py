"""The dial ``target``: how many images of a batch are to be clearly different; how hard to push is found in the run.

An image counts when it is clearly different from all that is wired, and from every image of its batch that counts
before it. The estimates are counted anew in each evaluation. Where too few count, as many others as are missing are
pushed, those first that are nearest to counting, and the further the more are missing. Images that count are only kept
from ceasing to, and left alone while some are to spare.

Distances are taken relative to the typical distance of the estimates themselves. Estimates of the embedded model with
classifier-free guidance count by it like its final images at every noise level. Early ones of a distilled
model are further apart than what becomes of them, so that they have to be further apart to count.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...kernels.scale import typical_distance
from ...kernels.shields.field import batch_field, working_points
from ..base import Need
from ..references import References
from .shields import Radii, Shields

CLEARLY = 0.25
"""Final images further apart than this share of the typical distance are clearly different: of the embedded models'
images of one mode 0 and 14 % are (base, distilled), of two modes 77 and 63 %."""

EARLY = (0.3, 1.0)
"""How much more of it the first estimates of a run need, with classifier-free guidance and without; less from then on,
in proportion to the progress."""

RESERVE = 2.0
"""Images pushed beside each one that is missing at the start of a run, as some do not make it; none at its end."""

BEYOND = 1.1
"""How far beyond the distance from which it counts an image is pushed, at least."""

HOLD = 1.25
"""How far apart images that count are kept, relative to the distance from which they do, while none is to spare."""

GAIN = 3.0
"""How much further at the start of a run in which all are missing."""


class Target:
    """The count of one run.

    Args:
        wanted: how many images are to be clearly different.
        batch_size: of the run.
        need: told to prompt easing.

    Attributes:
        first: how many counted in the first evaluation with the prompt; None before.
        note: what is wrong with the number; "" for nothing.
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
        """How many images are missing, by which of the estimates count, shape (B,); below 0 where some are to spare."""
        found = int(counts.sum())
        if not self._need.silent:
            self.first = found if self.first is None else self.first
            self._need.short = found < self.wanted
        return self.wanted - found

    def reach(self, missing: int, progress: float) -> float:
        """How far images are pushed, relative to the distance from which they count."""
        return BEYOND * (1 + GAIN * (1 - progress) * missing / self.wanted)

    def pushed(self, missing: int, progress: float) -> int:
        """How many images are pushed for those that are missing."""
        return math.ceil(missing * (1 + RESERVE * (1 - progress)))

    def verdict(self, counts: Tensor) -> str:
        """How many of the final images count, shape (B,)."""
        found = int(counts.sum())
        return f"{found} of {len(counts)} images {'differs' if found == 1 else 'differ'} (target {self.wanted})"


def clear_distance(latents: Tensor, progress: float, distilled: bool) -> float:
    """Distance from which estimates (B, C, ...) are clearly different, at a place of the run; 1 is its end."""
    return CLEARLY * (1 + EARLY[distilled] * (1 - progress)) * typical_distance(latents)


def counted(shields: Shields) -> Tensor:
    """Which points count, shape (B,): those outside the shields of all references and of what counts before them."""
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


def count_different(latents: Tensor) -> int:
    """How many of a batch of final latents (B, C, ...) in the model's space are clearly different."""
    radii = Radii.of(clear_distance(latents, 1.0, False), len(latents), None, relative=True, in_batch=True)
    nothing = References((), (), lambda chunk: chunk, latents.new_empty(0), 0.0)
    return int(counted(Shields.around(latents, radii, nothing)).sum())


def wider(radii: Radii, counts: Tensor, reach: float) -> Radii:
    """Clear distances made larger: a little where both count, to hold them, and by ``reach`` where one does not."""
    pairs = None
    if radii.pairs is not None:
        pairs = radii.pairs * torch.where(counts[:, None] & counts, HOLD, reach)
    return Radii(radii.fixed * torch.where(counts, HOLD, reach), pairs)


def movers(shields: Shields, counts: Tensor, number: int) -> Tensor:
    """Which points to push, shape (B,): of those that do not count the ones least deep in shields of those that do."""
    depth = torch.zeros_like(shields.radii.fixed)
    for contacts, radii, among in (
        (shields.fixed.contacts, shields.contact_radii, False),
        (shields.among.contacts, shields.pair_radii, True),
    ):
        met = 1 - contacts.distances / radii
        depth.scatter_reduce_(0, contacts.rows, met * counts[contacts.references] if among else met, "amax")
    able = working_points(shields.points).isfinite().all(1) & ~counts
    order = torch.where(able, depth, math.inf).argsort(stable=True)
    chosen = torch.zeros_like(counts)
    chosen[order[:number]] = True
    return chosen & able


def push(shields: Shields, pushed: Tensor, counts: Tensor) -> Tensor:
    """Out of the shields, shape (B, D): all the way from what counts where only one moves, half of it where both do."""
    delta, points = shields.fixed.delta, working_points(shields.points)
    if shields.radii.pairs is not None:
        one = pushed[:, None] & counts
        both = (pushed[:, None] & pushed) | (counts[:, None] & counts)
        held = 0.5 * batch_field(points, shields.radii.pairs * both, shields.mask).delta
        alone = batch_field(points, shields.radii.pairs * (one | one.T), shields.mask).delta
        delta = delta + held + torch.where(pushed[:, None], alone, 0.0)
    return torch.where((pushed | counts)[:, None], delta, 0.0)
