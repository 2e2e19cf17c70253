"""Exemplar Set: a handful of real images of a subject, with their latents and features."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

MAX_EXEMPLARS = 256
"""All exemplars are compared in every step: a set is a handful of images, not a data set."""

Measure = Callable[[Tensor], Tensor]
"""An image or latent, as a batch of one, to its features (1, d)."""


class ExemplarError(ValueError):
    """Images cannot serve as exemplars."""


@dataclass(frozen=True, eq=False)
class ExemplarSet:
    """Real images as an immutable value for wires and caches.

    Attributes:
        images: each (3, H, W), uint8; sizes may differ.
        latents: of the same images, raw, each (C, ...); empty if no VAE was given.
        latent_format: name of the latents' format; "" if it is unknown or there are no latents.
    """

    images: tuple[Tensor, ...]
    latents: tuple[Tensor, ...] = ()
    latent_format: str = ""
    _features: dict[str, Tensor] = field(default_factory=dict, repr=False, init=False)

    def __post_init__(self) -> None:
        if not self.images:
            raise ExemplarError("An Exemplar Set needs at least one image.")
        if len(self.images) > MAX_EXEMPLARS:
            raise ExemplarError(
                f"An Exemplar Set holds at most {MAX_EXEMPLARS} images, not {len(self.images)}: choose some."
            )
        if self.latents and len(self.latents) != len(self.images):
            raise ExemplarError(f"There are {len(self.latents)} latents for {len(self.images)} images.")

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def from_images(cls, images: Tensor) -> ExemplarSet:
        """A set of images in 0 to 1.

        Args:
            images: (N, 3, H, W).

        Raises:
            ExemplarError: another shape, no image, or values that are not finite.
        """
        if images.ndim != 4 or images.shape[1] != 3 or not images.numel():
            raise ExemplarError(f"Exemplars must be images of shape (N, 3, H, W), not {tuple(images.shape)}.")
        if not bool(images.isfinite().all()):
            raise ExemplarError("The exemplars hold NaN or infinite values. Check what made them.")
        whole = (images.detach().float().clamp(0, 1) * 255).round().to("cpu", torch.uint8)
        return cls(tuple(image.clone() for image in whole))

    @property
    def digest(self) -> str:
        """Hash of the images and latents, hexadecimal."""
        digest = hashlib.sha256()
        for tensor in (*self.images, *self.latents):
            digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def with_latents(self, latents: Sequence[Tensor], latent_format: str = "") -> ExemplarSet:
        """The same images with their raw latents, each (C, ...)."""
        return ExemplarSet(self.images, tuple(latent.detach().cpu().float() for latent in latents), latent_format)

    def features(self, tag: str, measure: Measure) -> Tensor:
        """Features (N, d) of the images in a space, computed once for each tag.

        Args:
            tag: of the space.
            measure: takes an image (1, 3, H, W) in 0 to 1.
        """
        return self._cached(tag, lambda: [measure(image[None].float() / 255) for image in self.images])

    def latent_features(self, tag: str, measure: Measure) -> Tensor:
        """Features (N, d) of the latents in a space, computed once for each tag.

        Args:
            tag: of the space.
            measure: takes a raw latent (1, C, ...).

        Raises:
            ExemplarError: the set has no latents.
        """
        if not self.latents:
            raise ExemplarError(
                "These features are taken of latents, and the Exemplar Set holds images only: connect the model's VAE "
                "into it, or choose features of images."
            )
        return self._cached(tag, lambda: [measure(latent[None]) for latent in self.latents])

    def get_ram_usage(self) -> int:
        """Size in bytes, for ComfyUI's cache."""
        return sum(tensor.nbytes for tensor in (*self.images, *self.latents, *self._features.values()))

    def _cached(self, tag: str, measured: Callable[[], list[Tensor]]) -> Tensor:
        if tag not in self._features:
            self._features[tag] = torch.cat(measured()).detach().cpu().float()
        return self._features[tag]
