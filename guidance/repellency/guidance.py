"""Sparse Repellency as a guidance: arXiv 2410.06025 (SPELL / Shielded Diffusion), equations 5 and 8, section 3.

The published method measures on the guided estimate of x0. With classifier-free guidance these estimates start far
apart and come together only when the image is decided: shields of one radius then fire when little but colour can still
change. Measured on the conditional estimate before classifier-free guidance, with the push added to the guided one,
they fire while the image is being decided. Both are available.

Our addition eases classifier-free guidance, which narrows a prompt to one image: inside a shield the estimate moves
towards the conditional one in proportion to the depth. Pushes can then be smaller.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...kernels.scale import typical_distance
from ...kernels.shields.field import working_points
from ...stores.protected.index import ProtectedIndex
from ..base import DenoiseMask, Guidance, Need, SamplingRun, SamplingStep
from ..references import References, ReferenceSource, RunReferences, gather, why_none
from ..similar_prompts import RunPrompt, of_similar_prompts
from ..trace import StepRecord, Trace
from .protection import Protection
from .records import mask_notes, sample_records, violations, why_uncompared
from .settings import RECOMMENDED_END, RepellencySettings
from .shields import Radii, Shields
from .target import Target, clear_distance, counted, movers, push, wider

__all__ = ["RECOMMENDED_END", "RepellencySettings", "SparseRepellency"]

NOTHING = RunReferences((), (), (), 0.0, ())


class SparseRepellency(Guidance):
    """Keeps the images of a run out of shields around references and around one another.

    Args:
        settings: how it acts.
        sources: of references: bank snapshots, ``ImageReferences``.
        protected: indexes of images that are too many to read in every step.
        distilled: settings for runs without classifier-free guidance; None for the same.
        prompt: of the run, for the setting ``prompt_similarity``; without one, all images of a bank count.
    """

    name = "Sparse Repellency"

    def __init__(
        self,
        settings: RepellencySettings | None = None,
        sources: Sequence[ReferenceSource] = (),
        protected: Sequence[ProtectedIndex] = (),
        distilled: RepellencySettings | None = None,
        prompt: RunPrompt | None = None,
    ) -> None:
        self.settings = settings or RepellencySettings()
        self._kinds = self.settings, distilled or self.settings
        self._kind_known = self._distilled = False
        self.sources = tuple(sources)
        self.prompt = prompt
        self.protected = tuple(protected)
        self._trace = Trace()
        self._run: SamplingRun | None = None
        self._references = NOTHING
        self._protection: Protection | None = None
        self._mask: DenoiseMask | None = None
        self._given: list[Tensor | None] = []
        self._changeable: DenoiseMask | None = None
        self._prepared: tuple[DenoiseMask | None, References] | None = None
        self._final_radii: Radii | None = None
        self._need = Need()
        self._target: Target | None = None

    @property
    def trace(self) -> Trace:
        """What happened in the current or last run."""
        return self._trace

    @property
    def need(self) -> Need | None:
        """Whether too few images differ; None without a target."""
        return self._need if self._kinds[0].target else None

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
                or image size.
        """
        self.settings, self._kind_known = self._kinds[0], False
        settings = self.settings
        self._run = run
        self._given, self._mask, self._changeable, self._prepared = [], None, None, None
        self._references, self._protection, self._final_radii = NOTHING, None, None
        if not settings.is_off:
            self._protection = Protection.for_run(self.protected, run)
            sources = of_similar_prompts(self.sources, self.prompt, settings.prompt_similarity)
            self._references = gather(sources, run, self._protection.sample() if self._protection else ())
        notes = list(self._references.notes)
        nothing = "" if self._references.ids or self._protection else why_none(run.batch_size, settings.in_batch, notes)
        self._target = Target(settings.target, run.batch_size, self._need) if settings.target else None
        notes += [self._target.note] if self._target and self._target.note else []
        self._trace = Trace(notes=notes, inactive=nothing or settings.interval.why_missed(run.sigmas))

    def __call__(self, denoised: Tensor, step: SamplingStep) -> Tensor:
        """Push estimates, shape (B, C, ...), out of the shields; the same tensor if there is nothing to do."""
        if not self._kind_known:
            self._distilled = step.conditional is denoised
            self.settings, self._kind_known = self._kinds[self._distilled], True
        settings = self.settings
        # Also while inactive: the mask holds for the final latents whatever the interval.
        self._follow(step.mask)
        if self._idle(len(denoised)) or step.sigma not in settings.interval:
            return denoised
        # While the prompt is left out, the conditional estimate means nothing.
        measured = step.conditional if settings.measure == "conditional" and not self._need.silent else denoised
        if self._target is None:
            pushed, shields = None, self._shields(measured, self._mask)
            delta = self._push(shields)
        else:
            pushed, shields, delta = self._aimed(self._target, measured, step)
        delta, clipped = settings.norm_clip.apply(
            settings.strength * delta, working_points(denoised), working_points(step.noisy)
        )
        eased = self._easing(denoised, step.conditional, shields)
        if pushed is not None:
            eased = torch.where(pushed[:, None], eased, 0.0)
        delta = delta + eased
        self._record(delta, clipped, eased, denoised, step, shields)
        if not bool(delta.any()):
            return denoised
        return (working_points(denoised) + delta).view(denoised.shape).to(denoised.dtype)

    def finish(self, samples: Tensor) -> Tensor:
        """Close the trace; with ``ensure_outside``, return final latents that are outside every shield."""
        self._trace.finished = True
        if self._idle(len(samples)):
            return samples
        settings, mask = self.settings, self._changeable
        shields = self._shields(samples, mask, searched=False)
        always = shields.references
        if self._protection:
            self._protection.note_unpushed(working_points(shields.points), always)
        self._final_radii = shields.radii
        if settings.ensure_outside:
            samples = self._projected(samples, shields, "final images")
        final = self._shields(samples, mask, radii=shields.radii).exactly()
        if settings.ensure_outside:
            self._trace.violations += violations(final)
        nearest = final.nearest()
        if self._protection:
            record = self._protection.record(final, always, settings.ensure_outside)
            self._trace.records.append(record)
            hits = nearest.new_tensor([image.after.distance for image in record.images])
            nearest = torch.minimum(nearest, hits)
        self._trace.final_nearest = nearest.tolist()
        if self._target and not self._trace.inactive:
            self._tell_reached(self._target, samples, mask)
        protected = self._protection is not None
        self._trace.inactive = why_uncompared(final, protected=protected) or self._trace.inactive
        self._trace.notes += mask_notes(final, guaranteed=settings.ensure_outside, protected=protected)
        return samples

    def _tell_reached(self, target: Target, samples: Tensor, mask: DenoiseMask | None) -> None:
        clear = clear_distance(samples, 1.0, self._distilled)
        self._trace.reached = target.headline(counted(self._clear_shields(samples, clear, mask)))
        self._trace.notes += target.notes()

    def corrected(self, samples: Tensor) -> Tensor:
        """With ``ensure_outside``, move further results out of the shields of the final latents.

        If the final latents hold noise, the shields are those of the results themselves.
        """
        if not self.settings.ensure_outside or self._idle(len(samples)):
            return samples
        mask = self._changeable
        shields = self._shields(samples, mask, radii=self._final_radii, searched=False)
        samples = self._projected(samples, shields, "last estimates")
        left = self._shields(samples, mask, radii=shields.radii).exactly()
        if inside := len(left.fixed.contacts) + len(left.among.contacts):
            self._trace.notes.append(f"The last estimates (denoised_output) are still inside {inside} shields.")
        return samples

    def _follow(self, given: Tensor | None) -> None:
        """Use the mask of this step, and keep the union of all masks for the final latents."""
        if self._given and self._given[-1] is given:
            return
        run = self._begun()
        self._mask = DenoiseMask.from_mask(given, run)
        if self._given:
            self._changeable = self._changeable and self._changeable.union(self._mask)
        else:
            self._changeable = self._mask
        self._given = [given]

    def _shields(
        self, latents: Tensor, mask: DenoiseMask | None, *, radii: Radii | None = None, searched: bool = True
    ) -> Shields:
        """The shields around latents (B, C, ...), with ``searched`` including those of protected images."""
        always = self._masked(mask)
        if radii is None:
            settings = self.settings
            whole = settings.absolute_radius
            if whole == 0:
                whole = settings.radius * (always.typical or typical_distance(latents))
            relative = settings.absolute_radius == 0
            radii = Radii.for_batch(whole, len(latents), mask, relative=relative, in_batch=settings.in_batch)
        shields = Shields.around(latents, radii, always)
        if not searched or self._protection is None:
            return shields
        near = self._near(working_points(shields.points), shields.radii.fixed, always)
        return Shields(shields.points, shields.radii, near)

    def _clear_shields(self, latents: Tensor, radius: float, mask: DenoiseMask | None) -> Shields:
        """Shields of one radius around latents (B, C, ...)."""
        radii = Radii.for_batch(radius, len(latents), mask, relative=True, in_batch=self.settings.in_batch)
        return self._shields(latents, mask, radii=radii)

    def _near(self, points: Tensor, radius: Tensor, known: References) -> References:
        """The known references, and the protected ones in whose shields points (B, D) may be."""
        return known if self._protection is None else self._protection.near(points, float(radius.max()), known)

    def _push(self, shields: Shields) -> Tensor:
        """The push of each estimate, shape (B, D)."""
        if self.settings.overlap == "sum" or not (len(shields.fixed.contacts) or len(shields.among.contacts)):
            return shields.push()
        points = working_points(shields.points)
        return Shields(points, shields.radii, shields.references).project_outside(self._near) - points

    def _aimed(self, target: Target, measured: Tensor, step: SamplingStep) -> tuple[Tensor, Shields, Tensor]:
        """Which estimates do not count and are pushed, (B,), the shields around all, and their push, (B, D)."""
        clear = clear_distance(measured, step.progress, self._distilled)
        shields = self._clear_shields(measured, clear, self._mask)
        counts = counted(shields)
        missing = target.missing(counts)
        # After the last step the model makes no image any more of where a push leads.
        if missing < 0 or step.next_sigma == 0:
            return torch.zeros_like(counts), shields, torch.zeros_like(working_points(measured))
        radii = wider(shields.radii, counts, target.reach(missing, step.progress))
        shields = self._shields(measured, self._mask, radii=radii)
        pushed = movers(shields, counts, target.pushed(missing, step.progress, self._distilled))
        if self.settings.overlap == "sum":
            return pushed, shields, push(shields, pushed, counts)
        return pushed, shields, torch.where(pushed[:, None], self._push(shields), 0.0)

    def _easing(self, denoised: Tensor, conditional: Tensor, shields: Shields) -> Tensor:
        """CFG easing: towards the conditional estimate by the depth in the deepest shield, shape (B, D)."""
        if self.settings.cfg_easing == 0 or conditional is denoised:
            return torch.zeros_like(working_points(denoised))
        weight = (self.settings.cfg_easing * shields.depth()).clamp_max(1)
        difference = working_points(conditional) - working_points(denoised)
        return weight[:, None] * (difference if shields.mask is None else difference * shields.mask)

    def _projected(self, samples: Tensor, shields: Shields, what: str) -> Tensor:
        """Latents outside every shield, in their own dtype, as rounding could put them back inside."""
        outside = shields.project_outside(self._near)
        moved = int(((working_points(outside) - working_points(shields.points)).norm(dim=1) > 0).sum())
        if moved == 0:
            return samples
        self._trace.notes.append(f"{moved} of {len(samples)} {what} were moved out of shields.")
        if shields.mask is not None:
            outside = torch.where(shields.mask > 0, outside, samples.flatten(1))
        return outside.view(samples.shape)

    def _record(
        self, delta: Tensor, clipped: Tensor, eased: Tensor, denoised: Tensor, step: SamplingStep, shields: Shields
    ) -> None:
        if self._protection:
            self._protection.note(shields.fixed.contacts, shields.references)
        records = sample_records(delta, denoised, shields, clipped, eased)
        radius = float(shields.radii.fixed.max())
        self._trace.record(StepRecord(self.name, step.sigma, step.progress, radius, records))

    def _idle(self, batch_size: int) -> bool:
        """Whether there is nothing to keep away from."""
        others = self.settings.in_batch and batch_size > 1
        return self.settings.is_off or not (self._references.ids or self._protection or others)

    def _masked(self, mask: DenoiseMask | None) -> References:
        """The references under a mask, cached while the mask stays the same."""
        if self._prepared is None or self._prepared[0] is not mask:
            always = self._references.masked(mask, self._begun())
            if self._protection:
                always, notes = self._protection.masked(mask, always)
                self._trace.notes += [note for note in notes if note not in self._trace.notes]
            self._prepared = mask, always
        return self._prepared[1]

    def _begun(self) -> SamplingRun:
        if self._run is None:
            raise RuntimeError("A guidance must begin a run before it is called.")
        return self._run
