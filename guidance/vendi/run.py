"""What Vendi Guidance knows of one sampling run, and of one evaluation of the model in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from ...kernels.shields.field import working_points
from ..base import DenoiseMask, SamplingRun, SamplingStep
from .directions import Described
from .latent_features import LatentFeatures
from .prompts import Prompts
from .references import Past

ROUNDING = 1e-4
"""Relative distance within which two noise levels are the same: half precision schedules miss their own levels."""


@dataclass(frozen=True)
class Moment:
    """One evaluation, for those b pictures of the batch that can be measured.

    Attributes:
        rows: their indices, (b,).
        points: the estimates that were measured, (b, C, ...), float32.
        batch: their features and prompts.
        estimate: what will be moved, (b, D).
        conditional: estimates from the prompt alone, (b, D).
        sample: the noisy samples, (b, D).
        ways_out: a random direction for each, of length 1, (b, D).
        mask: 1 where the picture may change, (b, D); None for everywhere.
        step: the evaluation.
    """

    rows: Tensor
    points: Tensor
    batch: Described
    estimate: Tensor
    conditional: Tensor
    sample: Tensor
    ways_out: Tensor
    mask: Tensor | None
    step: SamplingStep

    def again(self, denoised: Tensor, step: SamplingStep) -> Moment:
        """The same pictures at a later evaluation, as they were measured at this one."""
        return replace(
            self,
            estimate=working_points(denoised[self.rows]),
            conditional=working_points(step.conditional[self.rows]),
            sample=working_points(step.noisy[self.rows]),
            step=step,
        )

    def within_mask(self, delta: Tensor) -> Tensor:
        """A correction (b, D) where the picture may change."""
        return delta if self.mask is None else delta * self.mask


@dataclass(frozen=True)
class VendiRun:
    """One run, prepared.

    Attributes:
        run: as the sampler tells it.
        features: the feature space.
        past: remembered pictures.
        exemplars: real pictures to stay near to.
        prompts: of the batch; None where prompts do not count.
    """

    run: SamplingRun
    features: LatentFeatures
    past: Past
    exemplars: Described
    prompts: Prompts | None

    def seen_through(self, mask: Tensor | None) -> VendiRun:
        """The same run with pictures compared where an inpainting mask lets them change."""
        found = DenoiseMask.of(mask, self.run)
        if found is None:
            return self
        # Samples with masks of their own are compared where all of them may change.
        features = self.features.seen_through(found.rows.amin(0).view(self.run.latent_shape))
        if features is self.features:
            return self
        exemplars = features.weighed(self.exemplars.features)
        return replace(
            self,
            features=features,
            past=self.past.seen_through(features),
            exemplars=Described(exemplars[exemplars.any(1)]),
        )

    def step_index(self, sigma: float) -> int:
        """Which step of the schedule a noise level belongs to, from 0; a level between two belongs to the earlier."""
        return int((self.run.sigmas[1:-1] >= sigma * (1 - ROUNDING)).sum())

    def described(self, latents: Tensor) -> tuple[Tensor, Described]:
        """Which rows of a batch of latents (B, C, ...) in the model's space can be measured, and their features.

        Left out are those that are not finite, and those without contrast, whose features have no direction.
        """
        finite = latents.flatten(1).isfinite().all(1).nonzero().flatten()
        found = self.features(latents[finite]).to(self.run.device)
        kept = found.any(1)
        rows = finite[kept]
        return rows, Described(found[kept], None if self.prompts is None else self.prompts.at(rows))

    def moment(self, denoised: Tensor, step: SamplingStep, points: Tensor) -> Moment:
        """Take the features of ``points``, one of the estimates, for a correction of ``denoised``."""
        usable = denoised.flatten(1).isfinite().all(1) & step.conditional.flatten(1).isfinite().all(1)
        rows, batch = self.described(points.masked_fill(~usable.view(-1, *[1] * (points.ndim - 1)), torch.nan))
        mask = None
        if step.mask is not None:
            mask = torch.broadcast_to(step.mask.to(denoised.device), denoised.shape)[rows].flatten(1)
        return Moment(
            rows,
            points[rows].float(),
            batch,
            working_points(denoised[rows]),
            working_points(step.conditional[rows]),
            working_points(step.noisy[rows]),
            self._ways_out[rows],
            mask,
            step,
        )

    @cached_property
    def _ways_out(self) -> Tensor:
        size = torch.Size(self.run.latent_shape).numel()
        noise = torch.randn((self.run.batch_size, size), generator=self.run.generator("vendi guidance"))
        return (noise / noise.norm(dim=1, keepdim=True)).to(self.run.device)
