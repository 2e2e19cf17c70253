"""The shifts of Feature Guidance: what is added to the channel means of a layer in one pass of the network.

With a reference images are led along a vector or an axis, each only until it has arrived. Its coordinate is measured in
every pass at the first layer, before anything is shifted. Without a reference the strength is divided among the
layers, which hand on what they were given.
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


class FeatureShift(ABC):
    """Gives the shifts of one run, layer by layer in the order of the network.

    Attributes:
        every_pass: whether the pass of the empty prompt is to be shifted too.
        lowest: noise level below which the images of this run are not to be shifted.
        coordinates: of the images of the last pass along the steering vector; none without one.
    """

    every_pass = False

    def __init__(self, settings: FeatureSettings, weights: Mapping[str, float]) -> None:
        self.lowest = 0.0
        self.coordinates: list[float] = []
        self._settings = settings
        self._weights = weights
        # What the first layer of a pass tells the others, by copy; only images that are led need it.
        self._wanted: dict[int, Tensor] = {}

    def begin(self, batch_size: int, sigmas: Tensor) -> list[str]:
        """Forget the previous run.

        Args:
            batch_size: of the run.
            sigmas: of the run, descending, shape (S,).

        Returns:
            What the user should know, in sentences.
        """
        self.coordinates = []
        return []

    def open_pass(self) -> None:
        """Say that the network is about to run."""
        self._wanted = {}

    @abstractmethod
    def __call__(self, layer: str, means: Tensor, sigma: float, copy: int) -> Tensor:
        """Shift of a layer's channel means (B, C), in their shape.

        Args:
            layer: its name.
            means: of the images of one copy of the batch, shape (B, C).
            sigma: noise level.
            copy: number that tells this copy of the batch from others in the same pass.
        """


def shift_of(
    settings: FeatureSettings,
    weights: Mapping[str, float],
    centroid: FeatureCentroid | None,
    reference: FeatureCentroid | None,
) -> FeatureShift:
    """The shift for what is there.

    Raises:
        ValueError: there is nothing to lead to, or the reference to spread along is of a single image.
    """
    if settings.mode == "spread":
        return _Dilated(settings, weights) if reference is None else _AlongAxes(settings, weights, reference)
    if centroid is None:
        raise ValueError(f"Leading {settings.mode} needs a centroid. Wire one, or choose to spread the batch.")
    if reference is None:
        return _Matched(settings, weights, centroid)
    return _AlongVector(settings, weights, SteeringVector(centroid, reference, weights))


class _Dilated(FeatureShift):
    """The batch's features, away from their own mean."""

    def begin(self, batch_size: int, sigmas: Tensor) -> list[str]:
        return super().begin(batch_size, sigmas) + _of_one(batch_size)

    def __call__(self, layer: str, means: Tensor, sigma: float, copy: int) -> Tensor:
        factor = 1 + max(self._settings.strength * self._weights[layer], -1)
        return dilation_shift(means, factor ** (1 / len(self._weights)) - 1)


class _Matched(FeatureShift):
    """Each image's own features, to a centroid or away from it."""

    def __init__(self, settings: FeatureSettings, weights: Mapping[str, float], centroid: FeatureCentroid) -> None:
        super().__init__(settings, weights)
        self._centroid = centroid

    def __call__(self, layer: str, means: Tensor, sigma: float, copy: int) -> Tensor:
        signed = self._settings.strength if self._settings.mode == "towards" else -self._settings.strength
        # An image that is at the centroid has arrived: more would throw it past.
        share = min(signed * self._weights[layer] / len(self._weights), 1.0)
        return target_shift(means, interpolate(self._centroid.sigmas, self._centroid.means[layer], sigma), share)


class _FeedbackShift(FeatureShift):
    """A shift of which the first layer of a pass tells how much every image needs."""

    def __call__(self, layer: str, means: Tensor, sigma: float, copy: int) -> Tensor:
        if copy not in self._wanted:
            self._wanted[copy] = self._wanting(layer, means, sigma).to(means)
        return self._weights[layer] * self._wanted[copy][:, None] * self._largest(layer, sigma, len(means)).to(means)

    def _short(self, coordinates: Tensor) -> Tensor:
        """Share of the largest shift that images at these coordinates need to reach the strength's."""
        return (self._settings.strength - coordinates).clamp(0, min(self._settings.strength, 1.0))

    @abstractmethod
    def _wanting(self, layer: str, means: Tensor, sigma: float) -> Tensor:
        """Which share of the largest shift each image needs, shape (B,), negative to lead back."""

    @abstractmethod
    def _largest(self, layer: str, sigma: float, count: int) -> Tensor:
        """The largest shift for each of so many images, shape (count, C), or (C,) for all alike."""


class _AlongVector(_FeedbackShift):
    """Along the vector from the reference to a centroid, or back and beyond."""

    def __init__(self, settings: FeatureSettings, weights: Mapping[str, float], vector: SteeringVector) -> None:
        super().__init__(settings, weights)
        self._vector = vector

    def begin(self, batch_size: int, sigmas: Tensor) -> list[str]:
        notes = super().begin(batch_size, sigmas)
        if not self._vector.knows_noise:
            notes.append(
                "The reference does not know what noise does: it is of one image, or of an earlier version. Probe a "
                "batch of samples again, and coordinates will be measured more surely."
            )
        return notes

    def _wanting(self, layer: str, means: Tensor, sigma: float) -> Tensor:
        coordinates = self._vector.coordinates(layer, means, sigma)
        self.coordinates = coordinates.tolist()
        return self._short(coordinates) if self._settings.mode == "towards" else -self._short(-coordinates)

    def _largest(self, layer: str, sigma: float, count: int) -> Tensor:
        return self._vector.shift(layer, sigma)


class _AlongAxes(_FeedbackShift):
    """Along the axes in which the reference's images differ, another end for each image."""

    every_pass = True

    def __init__(self, settings: FeatureSettings, weights: Mapping[str, float], reference: FeatureCentroid) -> None:
        super().__init__(settings, weights)
        self._axes = PrincipalAxes(reference, weights)

    def begin(self, batch_size: int, sigmas: Tensor) -> list[str]:
        notes = super().begin(batch_size, sigmas) + _of_one(batch_size)
        self.lowest = lowest_level(sigmas)
        if self.lowest == math.inf:
            notes.append(
                f"The last {OWN_EVALUATIONS} steps are the model's own: with so few there is nothing left to spread in."
            )
        return notes

    def _wanting(self, layer: str, means: Tensor, sigma: float) -> Tensor:
        # One image has nothing to be spread from.
        return self._short(self._axes.coordinates(layer, means, sigma)) if len(means) > 1 else torch.zeros(1)

    def _largest(self, layer: str, sigma: float, count: int) -> Tensor:
        return self._axes.shift(layer, sigma, count)


def _of_one(batch_size: int) -> list[str]:
    return ["A batch of one image has nothing to be spread from."] if batch_size == 1 else []
