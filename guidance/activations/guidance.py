"""Feature Guidance: arXiv 2410.11646 (feature-guided score diffusion) without training, on the user's own model.

The paper's features are channel means of the denoiser's layers, and its guidance shifts them inside the network towards
the centroid of a class: a <- a + w (centroid - mean(a)). The equation is a reconstruction from the abstract (the paper
learns w for every channel; here it is one number a layer). Leading away from a centroid and dilating the batch about
its own mean are the same shift with another sign and another centre.

One image's features say more than its group: matching them to a centroid also wipes out what is the image's own.
With a reference, the centroid of the model's own samples, images are led along the vector from one to the other alone
(``steering_vector``), each only until it has arrived: the strength is its coordinate there, in lengths of the vector.

Spreading needs no centroid. With a reference every image is led to another end of an axis in which the model's own
samples differ (``principal_axes``); without one the batch is dilated.

Only the pass of the prompt is shifted: classifier-free guidance then amplifies the difference to the other pass.
Spreading along axes shifts every pass, which costs less fidelity.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ...kernels.centroids import channel_means, shift_channels
from ...stores.centroid.centroid import FeatureCentroid
from ..base import Guidance, SamplingRun, SamplingStep
from ..trace import SampleRecord, StepRecord
from .layers import Layer
from .settings import FeatureSettings
from .shifts import shift_of
from .trace import FeatureTrace


class FeatureGuidance(Guidance):
    """Shifts the features of a run while the network runs; the estimates themselves pass unchanged.

    A host opens a pass with ``at``, lets ``visit`` see the layers, and closes it with ``at(None)``.

    Args:
        settings: how it acts.
        weights: factor on the shift, by layer.
        centroid: where to or from; not needed to spread.
        reference: the centroid of the model's own samples; without one, every image's own features are the
            place to start from, or what is dilated.

    Raises:
        ValueError: the centroid is missing, a centroid lacks a layer, the two are not of the same model, or a
            reference to spread along is of a single image.
    """

    name = "Feature Guidance"

    def __init__(
        self,
        settings: FeatureSettings,
        weights: Mapping[str, float],
        centroid: FeatureCentroid | None = None,
        reference: FeatureCentroid | None = None,
    ) -> None:
        wanted = (reference,) if settings.mode == "spread" else (centroid, reference)
        self._centroids = [given for given in wanted if given is not None]
        for given in self._centroids:
            self._centroids[0].check_model(given.fingerprint, given.latent_format)
            if missing := [name for name in weights if name not in given.means]:
                raise ValueError(
                    f"The centroid '{given.name}' has no features of {missing[0]}. Probe the images with that layer, "
                    "or leave it out here."
                )
        self.settings = settings
        self.weights = dict(weights)
        self._shift = shift_of(settings, self.weights, centroid, reference)
        self._trace = FeatureTrace()
        self._pass: tuple[float, tuple[slice, ...]] | None = None
        self._shares: dict[int, list[float]] = {}

    @property
    def trace(self) -> FeatureTrace:
        """What happened in the current or last run."""
        return self._trace

    @property
    def is_off(self) -> bool:
        """Whether no feature can ever be shifted."""
        return self.settings.strength == 0 or not any(self.weights.values())

    @property
    def every_pass(self) -> bool:
        """Whether the pass of the empty prompt is to be shifted too, and hosts give its rows to ``at``."""
        return self._shift.every_pass

    def begin(self, run: SamplingRun) -> None:
        """Forget the previous run.

        Raises:
            ValueError: the centroid is of another latent format.
        """
        for centroid in self._centroids:
            centroid.check_model(centroid.fingerprint, run.latent_format)
        self._trace = FeatureTrace()
        self._pass, self._shares = None, {}
        notes = self._shift.begin(run.batch_size, run.sigmas)
        self._trace.inactive = self.settings.interval.why_missed(run.sigmas)
        if not self.is_off:
            self._trace.notes.extend(notes)

    def at(self, sigma: float | None, rows: Sequence[slice] = ()) -> None:
        """Open a pass at this noise level; None closes it.

        Args:
            sigma: noise level.
            rows: rows of the network's batch that belong to the prompt's pass, one slice a copy of the batch, or to
                any pass where ``every_pass`` says so; others are left alone.
        """
        active = sigma is not None and self._acts_at(sigma) and len(rows) > 0
        self._pass = (sigma, tuple(rows)) if active and sigma is not None else None
        self._shift.open_pass()

    def visit(self, layer: Layer, image: Tensor) -> Tensor:
        """Shift the features of one layer; the very tensor where there is nothing to do."""
        if self._pass is None or layer.name not in self.weights:
            return image
        sigma, rows = self._pass
        shift = torch.zeros_like(means := channel_means(image, layer.channel_axis))
        for part in rows:
            shift[part] = self._shift(layer.name, means[part], sigma, part.start)
        if not bool(shift.any()):
            self._note(rows, torch.zeros(len(shift)))
            return image
        self._note(rows, _relative(shift, image))
        chosen = torch.cat([torch.arange(len(shift))[part] for part in rows]).to(image.device)
        changed = shift_channels(image[chosen], shift[chosen], layer.channel_axis)
        return image.index_copy(0, chosen, changed)

    def __call__(self, denoised: Tensor, step: SamplingStep) -> Tensor:
        """Record what was shifted at this evaluation; the estimate itself stays the very tensor."""
        if not self._acts_at(step.sigma):
            return denoised
        self._trace.evaluations += 1
        self._trace.coordinates = list(self._shift.coordinates)
        shares = {sample: sum(values) / len(values) for sample, values in sorted(self._shares.items())}
        self._shares = {}
        if shares:
            records = tuple(SampleRecord(sample, share, math.inf) for sample, share in shares.items())
            self._trace.steps.append(StepRecord(self.name, step.sigma, step.progress, 0.0, records))
        return denoised

    def finish(self, samples: Tensor) -> Tensor:
        """Close the trace; the final latents stay the very tensor."""
        self._trace.finished = True
        if 0 < len(self._trace.steps) < self._trace.evaluations:
            missed = self._trace.evaluations - len(self._trace.steps)
            self._trace.notes.append(f"Its layers did not run in {missed} of {self._trace.evaluations} evaluations.")
        return samples

    def _acts_at(self, sigma: float) -> bool:
        # Hosts hand on levels in other precisions than schedules have.
        return not self.is_off and sigma in self.settings.interval and sigma >= self._shift.lowest * (1 - 1e-3)

    def _note(self, rows: Sequence[slice], shares: Tensor) -> None:
        for part in rows:
            for sample, share in enumerate(shares[part].tolist()):
                self._shares.setdefault(sample, []).append(share)


def _relative(shift: Tensor, image: Tensor) -> Tensor:
    """Norm of the shift at every place relative to the norm of the activations, shape (B,)."""
    places = image[0].numel() / shift.shape[1]
    return shift.norm(dim=1) * math.sqrt(places) / image.flatten(1).float().norm(dim=1).clamp_min(1e-12)
