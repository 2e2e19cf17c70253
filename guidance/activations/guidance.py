"""Feature Guidance: arXiv 2410.11646 (feature-guided score diffusion) without training, on the user's own model.

The paper's features are activation means: means over space of each channel of the denoiser's layers. Its guidance
shifts them inside the network towards the centroid of a class, a <- a + w (centroid - mean(a)). The equation is
reconstructed from the abstract: the paper learns w for every channel, here it is one number for each layer. Moving away
from a centroid and dilating the batch about its mean are the same shift with another sign or another centre.

Matching an image's activation means to a centroid also removes what is its own. With a reference, the centroid of the
model's own samples, images move only along the vector from reference to centroid (``steering_vector``), each until it
has arrived: the strength is its target coordinate, in lengths of the vector.

Spreading needs no centroid. With a reference every image moves to another end of a principal axis of the model's own
samples (``principal_axes``); without one the batch is dilated.

Only the prompt's pass is shifted, and classifier-free guidance amplifies the difference to the other pass. Spreading
along axes shifts every pass, which costs less fidelity.
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
from .trace import ActivationTrace


class FeatureGuidance(Guidance):
    """Shifts activation means while the network runs; the estimates themselves are returned unchanged.

    A host calls ``open_pass``, lets ``visit`` see the layers, and calls ``close_pass``.

    Args:
        settings: how it acts.
        weights: factor on the shift, by layer.
        centroid: the target, or what to move away from; not needed to spread.
        reference: the centroid of the model's own samples; without one, shifts start from every image's own means.

    Raises:
        ValueError: the centroid is missing, a centroid lacks a layer, the two are of different models, or the reference
            of a spread is of a single image.
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
                    f"The centroid '{given.name}' does not hold the layer {missing[0]}. Probe the images with it, "
                    "or leave it out here."
                )
        self.settings = settings
        self.weights = dict(weights)
        self._shift = shift_of(settings, self.weights, centroid, reference)
        self._trace = ActivationTrace()
        self._pass: tuple[float, tuple[slice, ...]] | None = None
        self._shares: dict[int, list[float]] = {}

    @property
    def trace(self) -> ActivationTrace:
        """What happened in the current or last run."""
        return self._trace

    @property
    def is_off(self) -> bool:
        """Whether nothing can ever be shifted."""
        return self.settings.strength == 0 or not any(self.weights.values())

    @property
    def every_pass(self) -> bool:
        """Whether the empty prompt's pass is shifted too, so that hosts give its rows to ``open_pass``."""
        return self._shift.every_pass

    def begin(self, run: SamplingRun) -> None:
        """Discard the previous run.

        Raises:
            ValueError: the centroid is of another latent format.
        """
        for centroid in self._centroids:
            centroid.check_model(centroid.fingerprint, run.latent_format)
        self._trace = ActivationTrace()
        self._pass, self._shares = None, {}
        notes = self._shift.begin(run.batch_size, run.sigmas)
        self._trace.inactive = self.settings.interval.why_missed(run.sigmas)
        if not self.is_off:
            self._trace.notes.extend(notes)

    def open_pass(self, sigma: float, rows: Sequence[slice]) -> None:
        """Announce that the network is about to run.

        Args:
            sigma: noise level.
            rows: rows of the network's batch to shift, one slice for each copy of the batch: those of the prompt, or
                all with ``every_pass``.
        """
        self._pass = (sigma, tuple(rows)) if rows and self._acts_at(sigma) else None
        self._shift.open_pass()

    def close_pass(self) -> None:
        """Announce that the network has run."""
        self._pass = None
        self._shift.open_pass()

    def visit(self, layer: Layer, image: Tensor) -> Tensor:
        """Shift the activation means of one layer; the very same tensor if there is nothing to do."""
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
        """Record what was shifted at this evaluation; returns the very same estimate."""
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
        """Close the trace; returns the very same latents."""
        self._trace.finished = True
        if 0 < len(self._trace.steps) < self._trace.evaluations:
            missed = self._trace.evaluations - len(self._trace.steps)
            self._trace.notes.append(f"Its layers did not run in {missed} of {self._trace.evaluations} evaluations.")
        return samples

    def _acts_at(self, sigma: float) -> bool:
        # Hosts may pass levels in another precision than the schedule's.
        return not self.is_off and sigma in self.settings.interval and sigma >= self._shift.lowest * (1 - 1e-3)

    def _note(self, rows: Sequence[slice], shares: Tensor) -> None:
        for part in rows:
            for sample, share in enumerate(shares[part].tolist()):
                self._shares.setdefault(sample, []).append(share)


def _relative(shift: Tensor, image: Tensor) -> Tensor:
    """Norm of the shift, repeated over space, relative to the norm of the activations, shape (B,)."""
    positions = image[0].numel() / shift.shape[1]
    return shift.norm(dim=1) * math.sqrt(positions) / image.flatten(1).float().norm(dim=1).clamp_min(1e-12)
