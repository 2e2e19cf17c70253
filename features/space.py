"""The feature space protocol: images or latents to unit vectors."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ..kernels.similarity import unit_rows


@runtime_checkable
class FeatureSpace(Protocol):
    """A map from images, or from latents, to vectors of unit length.

    Two items are compared by the Euclidean distance of their vectors: 0 for equal items, sqrt(2) for unrelated ones, 2
    for opposite ones.
    """

    @property
    def tag(self) -> str:
        """Identifies everything that the vectors depend on; vectors are comparable only under equal tags."""
        ...

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        ...

    @property
    def differentiable(self) -> bool:
        """Whether gradients flow from the vectors back to the input."""
        ...

    @property
    def duplicate_distance(self) -> float:
        """Distance below which two items count as near-duplicates by default."""
        ...

    def __call__(self, items: Tensor) -> Tensor:
        """Unit vectors, shape (B, dimension), float32.

        Args:
            items: images (B, 3, H, W) in 0 to 1 of any size, or latents (B, C, ...): the space says which.

        Raises:
            ValueError: another shape, or numbers that are not finite.
        """
        ...


def as_images(items: Tensor) -> Tensor:
    """Convert images to float32 RGB, clipped to 0..1.

    Args:
        items: (B, 3, H, W) colour or (B, 1, H, W) grey images; a fourth channel (alpha) is dropped.

    Raises:
        ValueError: another shape, an empty image, or numbers that are not finite.
    """
    if items.ndim != 4 or items.shape[1] not in (1, 3, 4):
        raise ValueError(f"Expected images of shape (B, 3, H, W), got {tuple(items.shape)}.")
    if not items.shape[2] * items.shape[3]:
        raise ValueError(f"Expected images with at least one pixel, got shape {tuple(items.shape)}.")
    images = items[:, :3].to(torch.float32).expand(-1, 3, -1, -1)
    if not len(images):
        return images
    darkest, brightest = images.aminmax()
    # One pass over the pixels in place of three; both comparisons are false for NaN.
    if bool(darkest >= 0) and bool(brightest <= 1):
        return images
    return _finite(images, "images").clamp(0, 1)


def as_latents(items: Tensor) -> Tensor:
    """Convert latents to float32, the frames of a video to channels.

    Args:
        items: (B, C, H, W) latents, or (B, C, T, H, W) of videos.

    Returns:
        (B, C, H, W), or (B, C T, H, W).

    Raises:
        ValueError: another shape, or numbers that are not finite.
    """
    if items.ndim not in (4, 5) or not items[:1].numel():
        raise ValueError(f"Expected latents of shape (B, C, H, W) or (B, C, T, H, W), got {tuple(items.shape)}.")
    return _finite(items.to(torch.float32), "latents").flatten(1, -3)


def unit_vectors(features: Tensor) -> Tensor:
    """Scale rows to unit length in float32; a row of zeros stays zero.

    Args:
        features: (B, ...) numbers.
    """
    return unit_rows(features.to(torch.float32))


def _finite(items: Tensor, kind: str) -> Tensor:
    if not torch.isfinite(items).all():
        wrong = [row for row, item in enumerate(items) if not torch.isfinite(item).all()]
        raise ValueError(f"These {kind} hold NaN or infinite numbers and cannot be measured: {wrong}.")
    return items
