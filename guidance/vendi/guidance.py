"""Vendi Guidance: arXiv 2406.04551 (c-VSG), equations 5 and 6, on any model, from the estimate of x0 alone.

The published method raises the Vendi Score of {bank + image} and lowers that of {exemplars + image} by gradients
through image encoder, decoder and denoiser. It adds the raw gradients, so that exemplars outweigh a large bank. Here
the gradient is in closed form up to the features and ends at the estimate; each gradient is normalised to a weight of
its own; and the images of a batch are pushed apart together. As with Sparse Repellency, features are measured on the
conditional estimate and the push is added to the guided one. Classifier-free guidance, which narrows a prompt to one
image, is eased for an image in proportion to how much it repeats another.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ...kernels.scale import typical_distance
from ...stores.exemplar_set import ExemplarSet
from ..base import Guidance, SamplingRun, SamplingStep
from ..references import MASK_HOLDS_ALL, MASKS_SHARE_NOTHING, why_none
from ..trace import Trace
from .directions import Direction, diversity_gradient, exemplar_gradient
from .latent_features import MakeFeatures, latent_layout
from .references import BatchPrompt, FeatureBank, bank_embeddings, batch_prompts, exemplar_embeddings
from .run import StepContext, VendiRun
from .settings import VendiSettings
from .trace import step_record

NOTHING_COMPARED = f"{MASKS_SHARE_NOTHING} (images are compared where all of them may change: give them one mask)"


class _CachedStep(NamedTuple):
    """What one step measured; it holds until the next step that measures."""

    context: StepContext
    diversity: Direction | None  # None where alpha is 0
    push: Tensor  # before the norm clip, (b, D)


class VendiGuidance(Guidance):
    """Pushes the images of a run away from those of a bank and from one another, and keeps them near exemplars.

    Args:
        settings: how it acts.
        bank: remembered images, such as a bank's snapshot.
        exemplars: real images to stay near.
        features: chooses the feature space of a run; by default latents averaged over a coarse grid.
        prompt: of the images, one for all or one for each, as text or encoded: only images of similar prompts push
            each other. None if prompts do not count.
        distilled: settings for runs without classifier-free guidance; None for the same.
    """

    name = "Vendi Guidance"

    def __init__(
        self,
        settings: VendiSettings | None = None,
        bank: FeatureBank | None = None,
        exemplars: ExemplarSet | None = None,
        features: MakeFeatures | None = None,
        prompt: BatchPrompt = None,
        distilled: VendiSettings | None = None,
    ) -> None:
        self.settings = settings or VendiSettings()
        self._kinds = self.settings, distilled or self.settings
        self._kind_known = False
        self.bank = bank
        self.exemplars = exemplars
        self.make_features = features or latent_layout()
        self.prompt = prompt
        self._trace = Trace()
        self._state: VendiRun | None = None
        self._masked: tuple[Tensor | None, VendiRun] | None = None
        self._cached: _CachedStep | None = None

    @property
    def trace(self) -> Trace:
        """What happened in the current or last run; distances are between unit features."""
        return self._trace

    def begin(self, run: SamplingRun) -> None:
        """Measure bank and exemplars in the feature space of this run.

        Raises:
            ValueError: the bank is of another latent format, or features, exemplars or prompts do not fit the run.
        """
        self._state, self._masked, self._cached, self._trace = None, None, None, Trace()
        self.settings, self._kind_known = self._kinds[0], False
        settings = self.settings
        spreads = settings.alpha > 0 and (self.bank is not None or (settings.in_batch and run.batch_size > 1))
        pulls = settings.beta > 0 and self.exemplars is not None
        if settings.is_off or not (spreads or pulls):
            self._trace.inactive = why_none(run.batch_size, settings.in_batch, ())
            return
        features = self.make_features(run)
        bank = bank_embeddings(self.bank if spreads else None, features, run, self.prompt)
        exemplars = exemplar_embeddings(self.exemplars if pulls else None, features, run)
        self._trace.notes += bank.notes
        nothing = "" if len(bank.ids) or len(exemplars) else why_none(run.batch_size, settings.in_batch, bank.notes)
        self._trace.inactive = nothing or settings.interval.why_missed(run.sigmas)
        if nothing:
            return
        prompts = None if self.prompt is None else batch_prompts(self.prompt, run)
        self._state = VendiRun(run, features, bank, exemplars, prompts)

    def __call__(self, denoised: Tensor, step: SamplingStep) -> Tensor:
        """Push estimates, shape (B, C, ...), apart and towards the exemplars; the same tensor if nothing is done."""
        if not self._kind_known:
            self.settings, self._kind_known = self._kinds[step.conditional is denoised], True
        settings, state = self.settings, self._masked_run(step.mask)
        if state is None or state.features.fraction == 0 or step.sigma not in settings.interval:
            return denoised
        if state.step_index(step.sigma) % settings.frequency == 0:
            self._cached = self._measured(denoised, step, state)
        elif self._cached is not None:
            held = self._cached._replace(context=self._cached.context.at_later_step(denoised, step))
            self._cached = held if settings.hold else None
        if self._cached is None:
            return denoised
        context, diversity, push = self._cached
        delta, clipped = settings.norm_clip.apply(push, context.estimate, context.sample)
        eased = torch.zeros_like(delta)
        if diversity is not None and settings.cfg_easing > 0:
            weight = (settings.cfg_easing * diversity.weight).clamp_max(1)
            eased = context.within_mask(weight[:, None] * (context.conditional - context.estimate))
        delta = context.within_mask(delta) + eased
        self._trace.record(step_record(self.name, context, delta, clipped, eased, diversity, state.bank.ids))
        if not bool(delta.any()):
            return denoised
        moved = denoised.clone()
        moved[context.rows] = (context.estimate + delta).view(-1, *denoised.shape[1:]).to(denoised.dtype)
        return moved

    def finish(self, samples: Tensor) -> Tensor:
        """Close the trace with the distance from each final image to the most similar other one."""
        self._trace.finished = True
        state = self._masked[1] if self._masked else self._state
        if state is not None and state.features.fraction > 0 and self.settings.alpha > 0:
            rows, batch = state.embeddings(samples)
            distances = diversity_gradient(batch, state.bank.embeddings, self.settings).distances
            nearest = torch.full((len(samples),), torch.inf, device=distances.device)
            if distances.shape[1]:
                nearest[rows] = distances.amin(1)
            self._trace.final_nearest = nearest.tolist()
        return samples

    def _masked_run(self, mask: Tensor | None) -> VendiRun | None:
        """The run under a mask, cached while the mask stays the same."""
        if self._state is None:
            return None
        if self._masked is None or self._masked[0] is not mask:
            self._masked = mask, self._state.masked(mask)
            if self._masked[1].features.fraction == 0 and not self._trace.inactive:
                self._trace.inactive = MASK_HOLDS_ALL if mask is None or not bool(mask.any()) else NOTHING_COMPARED
        return self._masked[1]

    def _measured(self, denoised: Tensor, step: SamplingStep, state: VendiRun) -> _CachedStep | None:
        """Measure the estimates and compute their push; None if none of them can be measured."""
        settings = self.settings
        context = state.context(denoised, step, step.conditional if settings.measure == "conditional" else denoised)
        if not len(context.rows):
            self._trace.notes.append(f"No estimate at noise level {step.sigma:.3g} could be measured.")
            return None
        diversity = diversity_gradient(context.batch, state.bank.embeddings, settings) if settings.alpha > 0 else None
        exemplar = exemplar_gradient(context.batch, state.exemplars, settings) if len(state.exemplars) else None
        return _CachedStep(context, diversity, self._push(context, diversity, exemplar, state))

    def _push(
        self, context: StepContext, diversity: Direction | None, exemplar: Direction | None, state: VendiRun
    ) -> Tensor:
        """The correction of each estimate before the norm clip, shape (b, D)."""
        settings = self.settings
        if settings.strength == 0:
            return torch.zeros_like(context.estimate)
        terms = [(scale, each) for scale, each in ((settings.alpha, diversity), (settings.beta, exemplar)) if each]
        gradients = state.features.pull_back(context.points, [each.gradient for _, each in terms])
        total = torch.zeros_like(context.estimate)
        for (scale, direction), gradient in zip(terms, gradients, strict=True):
            if settings.balance == "summed":
                total = total + scale * gradient
                continue
            unit = _unit(gradient)
            if direction is diversity:
                unit = _unit(unit + context.escape_directions * _coincident(direction)[:, None])
            total = total + scale * direction.weight[:, None] * unit
        if settings.project:
            total = total - _along(total, context.estimate - context.sample)
        if settings.balance == "summed":
            total = _unit(total)
        return settings.strength * self._length(context, state) * total

    def _length(self, context: StepContext, state: VendiRun) -> Tensor | float:
        """Length of a push of strength 1."""
        if self.settings.unit == "estimate":
            # A distance grows with the root of the number of values that count.
            return typical_distance(context.points) * math.sqrt(state.features.fraction)
        # An Euler step moves the sample by this fraction of the estimate's displacement.
        moves = 1 - context.step.next_sigma / context.step.sigma
        return context.sample.norm(dim=1, keepdim=True) / max(moves, 1e-6)


def _unit(rows: Tensor) -> Tensor:
    """Rows of length 1; those without a direction stay 0."""
    length = rows.norm(dim=1, keepdim=True)
    return rows / torch.where(length > 0, length, 1.0)


def _along(rows: Tensor, others: Tensor) -> Tensor:
    """The component of each row along the other row of the same index."""
    unit = _unit(others)
    return (rows * unit).sum(1, keepdim=True) * unit


def _coincident(diversity: Direction) -> Tensor:
    """1 for images whose features equal another's, between which no gradient separates, shape (b,)."""
    if not diversity.distances.shape[1]:
        return diversity.weight
    return (diversity.distances.amin(1) == 0).to(diversity.weight)
