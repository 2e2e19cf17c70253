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
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from ..kernels.clearance import Clearance, clear_shields
from ..kernels.scale import typical_distance
from ..kernels.shields import Contacts, ShieldField, batch_field, shield_field, working_points
from .caps import Cap
from .contract import Guidance, SamplingRun, SamplingStep
from .interval import SigmaInterval
from .references import Gathered, References, ReferenceSource, gather
from .trace import CONTACTS_KEPT, Contact, SampleRecord, StepRecord, Trace, Violation

RECOMMENDED_END = 0.85
"""Share of the model's schedule after which repellency costs quality and wins no further modes (docs/results.md)."""


@dataclass(frozen=True)
class RepellencySettings:
    """How Sparse Repellency acts.

    Attributes:
        radius: of every shield, as a fraction of the typical distance between unrelated pictures, which is measured
            from the references or, without any, from the batch itself. 0 switches the method off.
        strength: factor on every push (the paper's overcompensation lambda); 1 brings an estimate exactly to the
            surface of a single shield, 0 switches the method off.
        relaxation: how far classifier-free guidance is eased inside a shield: at depth 1 - distance / radius the
            estimate goes that share (times this factor, at most all) of the way to the conditional one. 0 is the paper.
        measure: which estimate the distances are taken on: the "conditional" one before classifier-free guidance or
            the "guided" one (the paper). Without classifier-free guidance they are the same.
        overlap: "sum" adds the pushes of all shields (the paper); "clear" moves out of overlapping ones too.
        in_batch: whether the pictures of a batch keep away from one another.
        interval: noise levels at which the method acts.
        ensure_outside: whether the final latents are moved outside every shield, whatever the interval and the cap.
        absolute_radius: radius in the units of the model's latents instead of ``radius``; 0 for none.
        cap: largest push relative to the model's own doing.
    """

    radius: float = 0.2
    strength: float = 1.0
    relaxation: float = 2.0
    measure: Literal["conditional", "guided"] = "conditional"
    overlap: Literal["sum", "clear"] = "sum"
    in_batch: bool = True
    interval: SigmaInterval = field(default_factory=SigmaInterval)
    ensure_outside: bool = False
    absolute_radius: float = 0.0
    cap: Cap = field(default_factory=Cap)

    def __post_init__(self) -> None:
        for name in ("radius", "strength", "relaxation", "absolute_radius"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"Sparse Repellency's {name} must be a number of at least 0, not {value}.")
        if self.measure not in ("conditional", "guided") or self.overlap not in ("sum", "clear"):
            raise ValueError(f'"{self.measure}" and "{self.overlap}" are not a measure and an overlap of {__name__}.')

    @property
    def is_off(self) -> bool:
        """Whether no push can ever be made."""
        return self.strength == 0 or (self.radius == 0 and self.absolute_radius == 0)


class SparseRepellency(Guidance):
    """Keeps the pictures of a run out of shields around references and around one another.

    Args:
        settings: how it acts.
        sources: where the references come from: bank snapshots, ``Pictures``.
    """

    name = "Sparse Repellency"

    def __init__(self, settings: RepellencySettings | None = None, sources: Sequence[ReferenceSource] = ()) -> None:
        self.settings = settings or RepellencySettings()
        self.sources = tuple(sources)
        self._trace = Trace()
        self._run: SamplingRun | None = None
        self._gathered = Gathered((), (), (), 0.0)
        self._mask: Tensor | None = None
        self._seen: tuple[Tensor | None, Tensor | None, References] | None = None

    @property
    def trace(self) -> Trace:
        """What happened in the current or last run."""
        return self._trace

    def begin(self, run: SamplingRun) -> None:
        """Collect the references that fit the run.

        Raises:
            ValueError: a source holds latents of another format than the model's.
        """
        self._run = run
        self._mask = None
        self._seen = None
        self._gathered = Gathered((), (), (), 0.0) if self.settings.is_off else gather(self.sources, run)
        self._trace = Trace(notes=list(self._gathered.notes))

    def __call__(self, denoised: Tensor, step: SamplingStep) -> Tensor:
        """Push estimates, shape (B, C, ...), out of the shields; the same tensor where there is nothing to do."""
        settings = self.settings
        # Also while inactive: the final latents must keep to the mask whenever the interval was.
        self._mask = step.mask
        if self._idle(len(denoised)) or step.sigma not in settings.interval:
            return denoised
        references, movable = self._references()
        points = _confined(step.conditional if settings.measure == "conditional" else denoised, movable)
        radius = self._radius(points, denoised.shape, references, movable)
        fixed = shield_field(points, references.blocks, radius, norms=references.norms, transform=references.transform)
        among = batch_field(points if settings.in_batch else points[:0], radius)
        delta = self._push(points, references, radius, fixed, among, movable)
        delta, capped = settings.cap.apply(delta, working_points(denoised), working_points(step.noisy))
        delta = delta + self._relaxation(denoised, step.conditional, fixed, among, radius, movable)
        self._trace.steps.append(
            StepRecord(
                self.name,
                step.sigma,
                step.progress,
                radius,
                _sample_records(delta, denoised, fixed, among, capped, references.ids),
            )
        )
        if not bool(delta.any()):
            return denoised
        return (working_points(denoised) + delta).view(denoised.shape).to(denoised.dtype)

    def finish(self, samples: Tensor) -> Tensor:
        """Close the trace; with ``ensure_outside``, return final latents that are outside every shield."""
        self._trace.finished = True
        if self._idle(len(samples)):
            return samples
        references, movable = self._references()
        points = _confined(samples, movable)
        radius = self._radius(points, samples.shape, references, movable)
        if self.settings.ensure_outside:
            samples = self._cleared(samples, radius, references, movable)
            points = _confined(samples, movable)
        final = shield_field(points, references.blocks, radius, norms=references.norms, transform=references.transform)
        among = batch_field(points if self.settings.in_batch else points[:0], radius)
        self._trace.final_nearest = _nearest(final, among).tolist()
        return samples

    def _cleared(self, samples: Tensor, radius: float, references: References, movable: Tensor | None) -> Tensor:
        """Final latents outside every shield, in their own dtype; what could not be cleared goes into the trace."""
        rows = samples.flatten(1)
        # Not the working precision: rounding the result afterwards could put it back inside.
        confined = rows if movable is None else rows * movable.to(rows.dtype)
        clearance = self._clearance(confined, radius, references, movable)
        self._trace.violations += _violations(clearance.violations, references.ids, radius)
        count = int((clearance.moved > 0).sum())
        if count == 0:
            return samples
        self._trace.notes.append(f"{count} of {len(samples)} final pictures were moved out of shields.")
        moved = clearance.estimates if movable is None else torch.where(movable > 0, clearance.estimates, rows)
        return moved.view(samples.shape)

    def _clearance(self, points: Tensor, radius: float, references: References, movable: Tensor | None) -> Clearance:
        return clear_shields(
            points,
            references.blocks,
            radius,
            in_batch=self.settings.in_batch,
            movable=movable,
            norms=references.norms,
            transform=references.transform,
        )

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
        return self.settings.is_off or not (self._gathered.ids or (self.settings.in_batch and batch_size > 1))

    def _references(self) -> tuple[References, Tensor | None]:
        """References seen through the mask, and where latents may change, shape (D,); kept while the mask stays."""
        if self._run is None:
            raise RuntimeError("A guidance must begin a run before it is called.")
        mask = self._mask
        if self._seen is None or self._seen[0] is not mask:
            movable = None if mask is None else _movable(mask, self._run)
            self._seen = mask, movable, self._gathered.seen_through(movable, self._run)
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
        references: References,
        radius: float,
        fixed: ShieldField,
        among: ShieldField,
        movable: Tensor | None,
    ) -> Tensor:
        if self.settings.overlap == "clear" and (len(fixed.contacts) or len(among.contacts)):
            clearance = self._clearance(points, radius, references, movable)
            delta = clearance.estimates - points
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


def _movable(mask: Tensor, run: SamplingRun) -> Tensor:
    """Where latents may change, shape (D,) of 0 and 1: where the mask lets at least half through for every sample.

    Samples with masks of their own are compared where all of them may change, so that a distance means the same for
    each.
    """
    samples = len(mask) if mask.ndim > len(run.latent_shape) else 1
    full = torch.broadcast_to(mask.to(run.device), (samples, *run.latent_shape))
    return (full.flatten(1) >= 0.5).all(0).float()


def _nearest(fixed: ShieldField, among: ShieldField) -> Tensor:
    """Distance to the nearest reference or member of the batch, shape (B,)."""
    return fixed.nearest if len(among.nearest) == 0 else torch.minimum(fixed.nearest, among.nearest)


def _violations(contacts: Contacts, ids: Sequence[str], radius: float) -> list[Violation]:
    triples = zip(contacts.rows.tolist(), contacts.references.tolist(), contacts.distances.tolist(), strict=True)
    return [Violation(row, _identity(index, ids), distance, radius) for row, index, distance in triples]


def _identity(index: int, ids: Sequence[str]) -> str:
    """References are numbered before the members of the batch."""
    return ids[index] if index < len(ids) else f"batch:{index - len(ids)}"


def _sample_records(
    delta: Tensor, denoised: Tensor, fixed: ShieldField, among: ShieldField, capped: Tensor, ids: Sequence[str]
) -> tuple[SampleRecord, ...]:
    share = (delta.norm(dim=1) / working_points(denoised).norm(dim=1).clamp_min(1e-12)).tolist()
    touched: list[list[Contact]] = [[] for _ in share]
    members = [f"batch:{index}" for index in range(len(among.nearest))]
    sides: tuple[tuple[Contacts, Sequence[str]], ...] = ((fixed.contacts, ids), (among.contacts, members))
    for contacts, names in sides:
        for row, index, distance in zip(
            contacts.rows.tolist(), contacts.references.tolist(), contacts.distances.tolist(), strict=True
        ):
            touched[row].append(Contact(names[int(index)], distance))
    return tuple(
        SampleRecord(
            sample,
            share[sample],
            distance,
            tuple(sorted(touched[sample], key=lambda contact: contact.distance)[:CONTACTS_KEPT]),
            len(touched[sample]),
            bool(capped[sample]),
        )
        for sample, distance in enumerate(_nearest(fixed, among).tolist())
    )
