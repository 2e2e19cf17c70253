"""The shifts of Feature Guidance: what is added to the activation means of a layer in one pass of the network.

With a reference images move along a vector or an axis, each until it has arrived. Its coordinate is measured in every
pass at the first layer, before anything is shifted. Without a reference the strength is divided among the layers,
because each passes its shift on to the next.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from ...kernels.centroids import dilation_shift, interpolate, target_shift
from ...stores.centroid.centroid import FeatureCentroid
from .principal_axes import OWN_EVALUATIONS, PrincipalAxes, lowest_level
from .settings import FeatureSettings
from .steering_vector import SteeringVector


class ActivationShift(ABC):
    """Computes the shifts of one run, layer by layer in the order of the network.

    Attributes:
        every_pass: whether the empty prompt's pass is shifted too.
        lowest: noise level below which the images of this run are not shifted.
        coordinates: of the images of the last pass along the steering vector; none without one.
    """

    every_pass = False

    def __init__(self, settings: FeatureSettings, weights: Mapping[str, float]) -> None:
        self.lowest = 0.0
        self.coordinates: list[float] = []
        self._settings = settings
        self._weights = weights
        # Feedback from the first layer of a pass for the others, by copy of the batch.
        self._feedback: dict[int, Tensor] = {}

    def begin(self, batch_size: int, sigmas: Tensor) -> list[str]:
        """Discard the previous run.

        Args:
            batch_size: of the run.
            sigmas: of the run, descending, shape (S,).

        Returns:
            Notes for the user, in sentences.
        """
        self.coordinates = []
        return []

    def open_pass(self) -> None:
        """Announce that the network is about to run."""
        self._feedback = {}

    @abstractmethod
    def __call__(self, layer: str, means: Tensor, sigma: float, copy: int) -> Tensor:
        """Shift of a layer's activation means, shape (B, C).

        Args:
            layer: its name.
            means: of the images of one copy of the batch, shape (B, C).
            sigma: noise level.
            copy: identifies this copy of the batch among others in the same pass.
        """


def shift_of(
    settings: FeatureSettings,
    weights: Mapping[str, float],
    centroid: FeatureCentroid | None,
    reference: FeatureCentroid | None,
) -> ActivationShift:
    """The shift for a mode, with or without a reference.

    Raises:
        ValueError: the mode needs a centroid, or the reference of a spread is of a single image.
    """
    if settings.mode == "spread":
        return _Dilated(settings, weights) if reference is None else _AlongAxes(settings, weights, reference)
    if centroid is None:
        raise ValueError(f"The mode {settings.mode} needs a centroid. Connect one, or choose spread.")
    if reference is None:
        return _Matched(settings, weights, centroid)
    return _AlongVector(settings, weights, SteeringVector(centroid, reference, weights))


class _Dilated(ActivationShift):
    """Dilates the batch about its mean."""

    def begin(self, batch_size: int, sigmas: Tensor) -> list[str]:
        return super().begin(batch_size, sigmas) + _of_one(batch_size)

    def __call__(self, layer: str, means: Tensor, sigma: float, copy: int) -> Tensor:
        factor = 1 + max(self._settings.strength * self._weights[layer], -1)
        return dilation_shift(means, factor ** (1 / len(self._weights)) - 1)


class _Matched(ActivationShift):
    """Moves each image's means towards a centroid or away from it."""

    def __init__(self, settings: FeatureSettings, weights: Mapping[str, float], centroid: FeatureCentroid) -> None:
        super().__init__(settings, weights)
        self._centroid = centroid

    def __call__(self, layer: str, means: Tensor, sigma: float, copy: int) -> Tensor:
        signed = self._settings.strength if self._settings.mode == "towards" else -self._settings.strength
        # A weight above 1 would overshoot the centroid.
        weight = min(signed * self._weights[layer] / len(self._weights), 1.0)
        return target_shift(means, interpolate(self._centroid.sigmas, self._centroid.means[layer], sigma), weight)


class _FeedbackShift(ActivationShift):
    """A shift whose size for every image is measured at the first layer of a pass."""

    def __call__(self, layer: str, means: Tensor, sigma: float, copy: int) -> Tensor:
        if copy not in self._feedback:
            self._feedback[copy] = self._fraction(layer, means, sigma).to(means)
        return self._weights[layer] * self._feedback[copy][:, None] * self._largest(layer, sigma, len(means)).to(means)

    def _missing(self, coordinates: Tensor) -> Tensor:
        """Fraction of the largest shift that images at these coordinates need to reach the strength."""
        return (self._settings.strength - coordinates).clamp(0, min(self._settings.strength, 1.0))

    @abstractmethod
    def _fraction(self, layer: str, means: Tensor, sigma: float) -> Tensor:
        """Fraction of the largest shift that each image needs, shape (B,); negative to move back."""

    @abstractmethod
    def _largest(self, layer: str, sigma: float, count: int) -> Tensor:
        """The largest shift for each of ``count`` images, shape (count, C), or (C,) for all."""


class _AlongVector(_FeedbackShift):
    """Moves images along the vector from the reference to a centroid, or in the opposite direction."""

    def __init__(self, settings: FeatureSettings, weights: Mapping[str, float], vector: SteeringVector) -> None:
        super().__init__(settings, weights)
        self._vector = vector

    def begin(self, batch_size: int, sigmas: Tensor) -> list[str]:
        notes = super().begin(batch_size, sigmas)
        if not self._vector.knows_noise:
            notes.append(
                "The reference does not say how noise moves channel means: it holds one image, or comes from an "
                "earlier version. Probe a batch of samples again for surer measurements."
            )
        return notes

    def _fraction(self, layer: str, means: Tensor, sigma: float) -> Tensor:
        coordinates = self._vector.coordinates(layer, means, sigma)
        self.coordinates = coordinates.tolist()
        return self._missing(coordinates) if self._settings.mode == "towards" else -self._missing(-coordinates)

    def _largest(self, layer: str, sigma: float, count: int) -> Tensor:
        return self._vector.shift(layer, sigma)


class _AlongAxes(_FeedbackShift):
    """Moves images along the principal axes of the reference's images, each to another end."""

    every_pass = True

    def __init__(self, settings: FeatureSettings, weights: Mapping[str, float], reference: FeatureCentroid) -> None:
        super().__init__(settings, weights)
        self._axes = PrincipalAxes(reference, weights)

    def begin(self, batch_size: int, sigmas: Tensor) -> list[str]:
        notes = super().begin(batch_size, sigmas) + _of_one(batch_size)
        self.lowest = lowest_level(sigmas)
        if self.lowest == math.inf:
            notes.append(
                f"The last {OWN_EVALUATIONS} steps are never steered, and this run has no others. Use more steps."
            )
        return notes

    def _fraction(self, layer: str, means: Tensor, sigma: float) -> Tensor:
        # A single image is not spread.
        return self._missing(self._axes.coordinates(layer, means, sigma)) if len(means) > 1 else torch.zeros(1)

    def _largest(self, layer: str, sigma: float, count: int) -> Tensor:
        return self._axes.shift(layer, sigma, count)


def _of_one(batch_size: int) -> list[str]:
    return ["A batch of one image cannot be spread."] if batch_size == 1 else []
