"""Vendi Guidance: arXiv 2406.04551 (c-VSG), equations 5 and 6, on any model, from the estimate of x0 alone.

The published method raises the Vendi Score of {bank + picture} and lowers that of {exemplars + picture} by a gradient
through image encoder, decoder and denoiser, added up as they are: the more pictures the bank holds, the more the
exemplars drown it. Here the gradient is in closed form up to the features and stops at the estimate; both directions
are balanced apart; the pictures of a batch are pushed apart together. As with Sparse Repellency, features are measured
on the conditional estimate and the push is added to the guided one, and classifier-free guidance, which narrows a
prompt to one picture, is eased for a picture in proportion to how much it repeats another.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ...kernels.scale import typical_distance
from ...stores.exemplar_set import ExemplarSet
from ..base import Guidance, SamplingRun, SamplingStep
from ..references import why_none
from ..trace import Trace
from .directions import Direction, away_from, towards
from .latent_features import MakeFeatures, latent_layout
from .references import (
    FeatureBank,
    Wanted,
    batch_prompts,
    exemplars_of,
    remembered,
)
from .run import Moment, VendiRun
from .settings import VendiSettings
from .trace import step_record


class _Held(NamedTuple):
    """What one step measured; it holds until the next step that measures."""

    now: Moment
    away: Direction | None  # None where alpha is 0
    push: Tensor  # before the norm clip, (b, D)

    def again(self, denoised: Tensor, step: SamplingStep) -> _Held:
        """The same for a later evaluation."""
        return self._replace(now=self.now.again(denoised, step))


class VendiGuidance(Guidance):
    """Spreads the pictures of a run out from those of a bank and from one another, and keeps them near exemplars.

    Args:
        settings: how it acts.
        bank: remembered pictures; a bank's snapshot.
        exemplars: real pictures to stay near to.
        features: chooses the feature space of a run; latents on a coarse grid where it is None.
        prompt: what the pictures are drawn from, one for all or one each, as text or as a text encoder sees it: then
            only pictures of similar prompts push one another. None for all alike.
        distilled: how it acts in runs without classifier-free guidance instead; None for as in all others.
    """

    name = "Vendi Guidance"

    def __init__(
        self,
        settings: VendiSettings | None = None,
        bank: FeatureBank | None = None,
        exemplars: ExemplarSet | None = None,
        features: MakeFeatures | None = None,
        prompt: Wanted = None,
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
        self._seen: tuple[Tensor | None, VendiRun] | None = None
        self._held: _Held | None = None

    @property
    def trace(self) -> Trace:
        """What happened in the current or last run; distances are those of unit features."""
        return self._trace

    def begin(self, run: SamplingRun) -> None:
        """Measure bank and exemplars in the feature space of this run.

        Raises:
            ValueError: the bank is of another latent format, or features, exemplars or prompts do not fit the run.
        """
        self._state, self._seen, self._held, self._trace = None, None, None, Trace()
        self.settings, self._kind_known = self._kinds[0], False
        settings = self.settings
        spreads = settings.alpha > 0 and (self.bank is not None or (settings.in_batch and run.batch_size > 1))
        pulls = settings.beta > 0 and self.exemplars is not None
        if settings.is_off or not (spreads or pulls):
            self._trace.inactive = why_none(run.batch_size, settings.in_batch, ())
            return
        features = self.make_features(run)
        past = remembered(self.bank if spreads else None, features, run, self.prompt)
        exemplars = exemplars_of(self.exemplars if pulls else None, features, run)
        self._trace.notes += past.notes
        nothing = "" if len(past.ids) or len(exemplars) else why_none(run.batch_size, settings.in_batch, past.notes)
        self._trace.inactive = nothing or settings.interval.why_missed(run.sigmas)
        if nothing:
            return
        prompts = None if self.prompt is None else batch_prompts(self.prompt, run)
        self._state = VendiRun(run, features, past, exemplars, prompts)

    def __call__(self, denoised: Tensor, step: SamplingStep) -> Tensor:
        """Push estimates, shape (B, C, ...), apart and towards the exemplars; the same tensor where nothing is done."""
        if not self._kind_known:
            self.settings, self._kind_known = self._kinds[step.conditional is denoised], True
        settings, state = self.settings, self._seen_through(step.mask)
        if state is None or step.sigma not in settings.interval:
            return denoised
        if state.step_index(step.sigma) % settings.frequency == 0:
            self._held = self._measured(denoised, step, state)
        elif self._held is not None:
            self._held = self._held.again(denoised, step) if settings.hold else None
        if self._held is None:
            return denoised
        now, away, push = self._held
        delta, clipped = settings.norm_clip.apply(push, now.estimate, now.sample)
        if away is not None and settings.cfg_easing > 0:
            # The way from the guided towards the conditional estimate, by how much a picture repeats another.
            share = (settings.cfg_easing * away.share).clamp_max(1)
            delta = delta + share[:, None] * (now.conditional - now.estimate)
        delta = now.within_mask(delta)
        self._trace.steps.append(step_record(self.name, now, delta, clipped, away, state.past.ids))
        if not bool(delta.any()):
            return denoised
        moved = denoised.clone()
        moved[now.rows] = (now.estimate + delta).view(-1, *denoised.shape[1:]).to(denoised.dtype)
        return moved

    def finish(self, samples: Tensor) -> Tensor:
        """Close the trace: how far each final picture is from the most similar other one."""
        self._trace.finished = True
        state = self._seen[1] if self._seen else self._state
        if state is not None and self.settings.alpha > 0:
            rows, batch = state.described(samples)
            distances = away_from(batch, state.past.pictures, self.settings).distances
            nearest = torch.full((len(samples),), torch.inf, device=distances.device)
            if distances.shape[1]:
                nearest[rows] = distances.amin(1)
            self._trace.final_nearest = nearest.tolist()
        return samples

    def _seen_through(self, mask: Tensor | None) -> VendiRun | None:
        """The run as a mask lets it be seen; kept while the mask stays."""
        if self._state is None:
            return None
        if self._seen is None or self._seen[0] is not mask:
            self._seen = mask, self._state.seen_through(mask)
        return self._seen[1]

    def _measured(self, denoised: Tensor, step: SamplingStep, state: VendiRun) -> _Held | None:
        """Where the estimates should go; None where none of them can be measured."""
        settings = self.settings
        now = state.moment(denoised, step, step.conditional if settings.measure == "conditional" else denoised)
        if not len(now.rows):
            self._trace.notes.append(f"No estimate at noise level {step.sigma:.3g} could be measured.")
            return None
        away = away_from(now.batch, state.past.pictures, settings) if settings.alpha > 0 else None
        near = towards(now.batch, state.exemplars, settings) if len(state.exemplars) else None
        return _Held(now, away, self._push(now, away, near, state))

    def _push(self, now: Moment, away: Direction | None, near: Direction | None, state: VendiRun) -> Tensor:
        """The correction of each estimate before the norm clip, shape (b, D)."""
        settings = self.settings
        if settings.strength == 0:
            return torch.zeros_like(now.estimate)
        found = [(weight, each) for weight, each in ((settings.alpha, away), (settings.beta, near)) if each is not None]
        gradients = state.features.pull_back(now.points, [each.gradient for _, each in found])
        total = torch.zeros_like(now.estimate)
        for (weight, direction), gradient in zip(found, gradients, strict=True):
            if settings.balance == "together":
                total = total + weight * gradient
                continue
            unit = _unit(gradient)
            if away is not None and direction is away:
                unit = _unit(unit + now.ways_out * _coincident(away)[:, None])
            total = total + weight * direction.share[:, None] * unit
        if settings.project:
            total = total - _along(total, now.estimate - now.sample)
        if settings.balance == "together":
            total = _unit(total)
        return settings.strength * self._length(now, state) * total

    def _length(self, now: Moment, state: VendiRun) -> Tensor | float:
        """Of a push of strength 1."""
        if self.settings.unit == "estimate":
            # Of pictures that differ in a part alone, as far as that part goes.
            return typical_distance(now.points) * math.sqrt(state.features.share)
        # One Euler step moves the sample by this share of what the estimate is moved.
        moves = 1 - now.step.next_sigma / now.step.sigma
        return now.sample.norm(dim=1, keepdim=True) / max(moves, 1e-6)


def _unit(rows: Tensor) -> Tensor:
    """Rows of length 1; those without a direction stay 0."""
    length = rows.norm(dim=1, keepdim=True)
    return rows / torch.where(length > 0, length, 1.0)


def _along(rows: Tensor, others: Tensor) -> Tensor:
    """The part of each row along the other of the same index."""
    unit = _unit(others)
    return (rows * unit).sum(1, keepdim=True) * unit


def _coincident(away: Direction) -> Tensor:
    """Which pictures have the very same features as another: no gradient can tell them apart, shape (b,)."""
    if not away.distances.shape[1]:
        return away.share
    return (away.distances.amin(1) == 0).to(away.share)
