"""Sparse Repellency as a guidance: arXiv 2410.06025 (SPELL / Shielded Diffusion), equations 5 and 8, section 3.

The published method measures on the guided estimate of x0. Under classifier-free guidance those start far apart and
only come together when the picture is decided, so shields of one radius fire when nothing but colour can change.
Measured on the conditional estimate before classifier-free guidance, with the push added to the guided one, they fire
while the picture is being decided. Both are offered.

Ours is the relaxation: classifier-free guidance is what narrows a prompt to one picture, so inside a shield it is eased
towards the conditional estimate in proportion to the depth, and left alone outside. Pushes can then be smaller.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ...kernels.scale import typical_distance
from ...kernels.shields.field import (
    ShieldField,
    batch_field,
    shield_field,
    working_points,
)
from ...kernels.shields.prefix_norms import sparse_field
from ...stores.protected.index import ProtectedIndex
from ..base import Guidance, SamplingRun, SamplingStep
from ..base import movable as movable_at
from ..references import (
    Gathered,
    References,
    ReferenceSource,
    gather,
    why_none,
)
from ..trace import StepRecord, Trace
from .protection import Protection
from .records import sample_records, violations
from .settings import RECOMMENDED_END, RepellencySettings
from .shield_exit import led_out

__all__ = ["RECOMMENDED_END", "RepellencySettings", "SparseRepellency"]

NOTHING = Gathered((), (), (), 0.0)


class SparseRepellency(Guidance):
    """Keeps the pictures of a run out of shields around references and around one another.

    Args:
        settings: how it acts.
        sources: where the references come from: bank snapshots, ``Pictures``.
        protected: indexes of pictures, too many to be read in every step.
    """

    name = "Sparse Repellency"

    def __init__(
        self,
        settings: RepellencySettings | None = None,
        sources: Sequence[ReferenceSource] = (),
        protected: Sequence[ProtectedIndex] = (),
    ) -> None:
        self.settings = settings or RepellencySettings()
        self.sources = tuple(sources)
        self.protected = tuple(protected)
        self._trace = Trace()
        self._run: SamplingRun | None = None
        self._gathered = NOTHING
        self._protection: Protection | None = None
        self._mask: Tensor | None = None
        self._seen: tuple[Tensor | None, Tensor | None, References] | None = None
        self._final_radius: float | None = None

    @property
    def trace(self) -> Trace:
        """What happened in the current or last run."""
        return self._trace

    @property
    def protects(self) -> bool:
        """Whether there are protected images to keep away from."""
        return not self.settings.is_off and any(len(index) for index in self.protected)

    @property
    def guarantees(self) -> bool:
        """Whether final latents are moved outside every shield."""
        return self.settings.ensure_outside and not self.settings.is_off

    def begin(self, run: SamplingRun) -> None:
        """Collect the references that fit the run.

        Raises:
            ValueError: a source holds latents of another format than the model's, or an index those of another format
                or picture size.
        """
        settings = self.settings
        self._run = run
        self._mask = None
        self._seen = None
        self._gathered, self._protection, self._final_radius = NOTHING, None, None
        if not settings.is_off:
            self._protection = Protection.of(self.protected, run)
            self._gathered = gather(self.sources, run, self._protection.sample() if self._protection else ())
        notes = list(self._gathered.notes)
        nothing = "" if self._gathered.ids or self._protection else why_none(run.batch_size, settings.in_batch, notes)
        self._trace = Trace(notes=notes, inactive=nothing or settings.interval.why_missed(run.sigmas))

    def __call__(self, denoised: Tensor, step: SamplingStep) -> Tensor:
        """Push estimates, shape (B, C, ...), out of the shields; the same tensor where there is nothing to do."""
        settings = self.settings
        # Also while inactive: the final latents must keep to the mask whenever the interval was.
        self._mask = step.mask
        if self._idle(len(denoised)) or step.sigma not in settings.interval:
            return denoised
        always, movable = self._references()
        points = _confined(step.conditional if settings.measure == "conditional" else denoised, movable)
        radius = self._radius(points, denoised.shape, always, movable)
        references = self._near(points, radius, always)
        fixed, among = self._fields(points, radius, references)
        delta = self._push(points, radius, references, fixed, among, movable)
        delta, capped = settings.cap.apply(delta, working_points(denoised), working_points(step.noisy))
        delta = delta + self._relaxation(denoised, step.conditional, fixed, among, radius, movable)
        if self._protection:
            self._protection.note(fixed.contacts, references)
        records = sample_records(delta, denoised, _nearest(fixed, among), fixed, among, capped, references.ids)
        self._trace.steps.append(StepRecord(self.name, step.sigma, step.progress, radius, records))
        if not bool(delta.any()):
            return denoised
        return (working_points(denoised) + delta).view(denoised.shape).to(denoised.dtype)

    def finish(self, samples: Tensor) -> Tensor:
        """Close the trace; with ``ensure_outside``, return final latents that are outside every shield."""
        self._trace.finished = True
        if self._idle(len(samples)):
            return samples
        always, movable = self._references()
        points = _confined(samples, movable)
        radius = self._radius(points, samples.shape, always, movable)
        if self._protection:
            self._protection.note_unpushed(points, always)
        self._final_radius = radius
        if self.settings.ensure_outside:
            samples = self._cleared(samples, radius, always, movable, "final images")
            points = _confined(samples, movable)
        references = self._near(points, radius, always)
        # Read as a whole: at the end it is told how far the nearest is, not just that it is far enough.
        fixed, among = self._fields(points, radius, replace(references, leading=None))
        if self.settings.ensure_outside:
            members = [f"batch:{index}" for index in range(len(samples))]
            self._trace.violations += violations(fixed.contacts, references.ids, radius)
            self._trace.violations += violations(among.contacts, members, radius)
        nearest = _nearest(fixed, among)
        if self._protection:
            record = self._protection.record(points, always, radius, fixed.contacts, self.settings.ensure_outside)
            self._trace.protections.append(record)
            nearest = torch.minimum(
                nearest, nearest.new_tensor([picture.after.distance for picture in record.pictures])
            )
        self._trace.final_nearest = nearest.tolist()
        return samples

    def corrected(self, samples: Tensor) -> Tensor:
        """With ``ensure_outside``, further results moved out of the shields of the final latents."""
        if not self.settings.ensure_outside or self._idle(len(samples)) or self._final_radius is None:
            return samples
        always, movable = self._references()
        radius = self._final_radius
        samples = self._cleared(samples, radius, always, movable, "last estimates")
        points = _confined(samples, movable)
        references = self._near(points, radius, always)
        fixed, among = self._fields(points, radius, replace(references, leading=None))
        if inside := len(fixed.contacts) + len(among.contacts):
            self._trace.notes.append(f"The last estimates (denoised_output) are still inside {inside} shields.")
        return samples

    def _near(self, points: Tensor, radius: float, always: References) -> References:
        """The references that are always at hand, and the protected ones in whose shields the points may be."""
        return always if self._protection is None else self._protection.near(points, radius, always)

    def _fields(self, points: Tensor, radius: float, references: References) -> tuple[ShieldField, ShieldField]:
        """What the shields of references, and of the other members of the batch, do to points (B, D)."""
        blocks, norms, leading = references.blocks, references.norms, references.leading
        if leading is None:
            fixed = shield_field(points, blocks, radius, norms=norms, transform=references.transform)
        else:
            fixed = sparse_field(points, blocks, radius, leading, norms=norms)
        return fixed, batch_field(points if self.settings.in_batch else points[:0], radius)

    def _cleared(self, samples: Tensor, radius: float, always: References, movable: Tensor | None, what: str) -> Tensor:
        """Final latents outside every shield, in their own dtype."""
        rows = samples.flatten(1)
        # Not the working precision: rounding the result afterwards could put it back inside.
        confined = rows if movable is None else rows * movable.to(rows.dtype)
        outside = self._led_out(confined, radius, self._near(working_points(confined), radius, always), movable)
        moved = int(((working_points(outside) - working_points(confined)).norm(dim=1) > 0).sum())
        if moved == 0:
            return samples
        self._trace.notes.append(f"{moved} of {len(samples)} {what} were moved out of shields.")
        return (outside if movable is None else torch.where(movable > 0, outside, rows)).view(samples.shape)

    def _led_out(self, points: Tensor, radius: float, known: References, movable: Tensor | None) -> Tensor:
        """Points (B, D) outside every shield, those of protected pictures that are only met on the way out included."""

        def near(outside: Tensor, met: References) -> References:
            return self._near(outside, radius, met)

        return led_out(points, radius, known, near, in_batch=self.settings.in_batch, movable=movable)

    def _relaxation(
        self,
        denoised: Tensor,
        conditional: Tensor,
        fixed: ShieldField,
        among: ShieldField,
        radius: float,
        movable: Tensor | None,
    ) -> Tensor | float:
        """The way from the guided towards the conditional estimate, by depth in the deepest shield, shape (B, D)."""
        if self.settings.relaxation == 0 or conditional is denoised or radius == 0:
            return 0.0
        depth = (1 - _nearest(fixed, among) / radius).clamp_min(0)
        share = (self.settings.relaxation * depth).clamp_max(1)
        way = working_points(conditional) - working_points(denoised)
        return share[:, None] * (way if movable is None else way * movable)

    def _idle(self, batch_size: int) -> bool:
        """Whether there is nothing to keep away from."""
        others = self.settings.in_batch and batch_size > 1
        return self.settings.is_off or not (self._gathered.ids or self._protection or others)

    def _references(self) -> tuple[References, Tensor | None]:
        """References seen through the mask, and where latents may change, shape (D,); kept while the mask stays."""
        if self._run is None:
            raise RuntimeError("A guidance must begin a run before it is called.")
        mask = self._mask
        if self._seen is None or self._seen[0] is not mask:
            movable = None if mask is None else movable_at(mask, self._run)
            always = self._gathered.seen_through(movable, self._run)
            if self._protection:
                always, notes = self._protection.seen_through(movable, always)
                self._trace.notes += [note for note in notes if note not in self._trace.notes]
            self._seen = mask, movable, always
        return self._seen[2], self._seen[1]

    def _radius(self, points: Tensor, shape: torch.Size, references: References, movable: Tensor | None) -> float:
        settings = self.settings
        if settings.absolute_radius > 0:
            return settings.absolute_radius
        typical = references.typical or typical_distance(points.view(shape))
        share = 1.0 if movable is None else float(movable.float().mean())
        return settings.radius * typical * math.sqrt(share if references.typical else 1.0)

    def _push(
        self,
        points: Tensor,
        radius: float,
        references: References,
        fixed: ShieldField,
        among: ShieldField,
        movable: Tensor | None,
    ) -> Tensor:
        if self.settings.overlap == "clear" and (len(fixed.contacts) or len(among.contacts)):
            delta = self._led_out(points, radius, references, movable) - points
        else:
            delta = fixed.delta
            if len(among.delta):
                # Both members of a pair move: half each, or they would land beyond the radius.
                delta = delta + 0.5 * among.delta
        delta = self.settings.strength * delta
        return delta if movable is None else delta * movable


def _confined(latents: Tensor, movable: Tensor | None) -> Tensor:
    """Latents as rows (B, D), zero where they may not change."""
    points = working_points(latents)
    return points if movable is None else points * movable


def _nearest(fixed: ShieldField, among: ShieldField) -> Tensor:
    """Distance to the nearest reference or member of the batch, shape (B,)."""
    return fixed.nearest if len(among.nearest) == 0 else torch.minimum(fixed.nearest, among.nearest)
