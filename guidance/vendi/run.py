"""The state of Vendi Guidance for one sampling run, and for one evaluation of the model in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from ...kernels.shields.field import working_points
from ..base import DenoiseMask, SamplingRun, SamplingStep
from ..prompts import Prompts
from ..schedule import ROUNDING
from .directions import Embeddings
from .latent_features import LatentFeatures
from .references import BankEmbeddings


@dataclass(frozen=True)
class StepContext:
    """One evaluation, for the b images of the batch that can be measured.

    Attributes:
        rows: their indices in the batch, (b,).
        points: the estimates that were measured, (b, C, ...), float32.
        batch: their features and prompts.
        estimate: the estimates to be moved, (b, D).
        conditional: estimates from the prompt alone, (b, D).
        sample: the noisy samples, (b, D).
        escape_directions: a random unit vector for each, for coincident images, (b, D).
        mask: 1 where the image may change, (b, D); None for everywhere.
        step: the evaluation.
    """

    rows: Tensor
    points: Tensor
    batch: Embeddings
    estimate: Tensor
    conditional: Tensor
    sample: Tensor
    escape_directions: Tensor
    mask: Tensor | None
    step: SamplingStep

    def at_later_step(self, denoised: Tensor, step: SamplingStep) -> StepContext:
        """The same measurement with the estimates of a later evaluation."""
        return replace(
            self,
            estimate=working_points(denoised[self.rows]),
            conditional=working_points(step.conditional[self.rows]),
            sample=working_points(step.noisy[self.rows]),
            step=step,
        )

    def within_mask(self, delta: Tensor) -> Tensor:
        """Zero a correction (b, D) where the image may not change."""
        return delta if self.mask is None else delta * self.mask


@dataclass(frozen=True)
class VendiRun:
    """One prepared run.

    Attributes:
        run: the sampler's description.
        features: the feature space.
        bank: remembered images.
        exemplars: real images to stay near.
        prompts: of the batch; None if prompts do not count.
    """

    run: SamplingRun
    features: LatentFeatures
    bank: BankEmbeddings
    exemplars: Embeddings
    prompts: Prompts | None

    def masked(self, mask: Tensor | None) -> VendiRun:
        """The same run with images compared only where an inpainting mask lets them change."""
        denoise_mask = DenoiseMask.from_mask(mask, self.run)
        if denoise_mask is None:
            return self
        # Samples with masks of their own are compared where all of them may change.
        features = self.features.masked(denoise_mask.rows.amin(0).view(self.run.latent_shape))
        if features is self.features:
            return self
        exemplars = features.weighted(self.exemplars.features)
        return replace(
            self,
            features=features,
            bank=self.bank.masked(features),
            exemplars=Embeddings(exemplars[exemplars.any(1)]),
        )

    def step_index(self, sigma: float) -> int:
        """Index of the schedule's step that a noise level belongs to; a level between two belongs to the earlier."""
        return int((self.run.sigmas[1:-1] >= sigma * (1 - ROUNDING)).sum())

    def embeddings(self, latents: Tensor) -> tuple[Tensor, Embeddings]:
        """Indices of the latents (B, C, ...) in the model's space that can be measured, and their embeddings.

        Excluded are latents that are not finite, and those without contrast, whose features are zero.
        """
        finite = latents.flatten(1).isfinite().all(1).nonzero().flatten()
        features = self.features(latents[finite]).to(self.run.device)
        kept = features.any(1)
        rows = finite[kept]
        return rows, Embeddings(features[kept], None if self.prompts is None else self.prompts.take(rows))

    def context(self, denoised: Tensor, step: SamplingStep, points: Tensor) -> StepContext:
        """Embed ``points``, one of the estimates, for a correction of ``denoised``."""
        usable = denoised.flatten(1).isfinite().all(1) & step.conditional.flatten(1).isfinite().all(1)
        rows, batch = self.embeddings(points.masked_fill(~usable.view(-1, *[1] * (points.ndim - 1)), torch.nan))
        mask = None
        if step.mask is not None:
            mask = torch.broadcast_to(step.mask.to(denoised.device), denoised.shape)[rows].flatten(1)
        return StepContext(
            rows,
            points[rows].float(),
            batch,
            working_points(denoised[rows]),
            working_points(step.conditional[rows]),
            working_points(step.noisy[rows]),
            self._escape_directions[rows],
            mask,
            step,
        )

    @cached_property
    def _escape_directions(self) -> Tensor:
        size = torch.Size(self.run.latent_shape).numel()
        noise = torch.randn((self.run.batch_size, size), generator=self.run.generator("vendi guidance"))
        return (noise / noise.norm(dim=1, keepdim=True)).to(self.run.device)
