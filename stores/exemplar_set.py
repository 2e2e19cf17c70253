"""Exemplar Set: a handful of real pictures of a subject, kept with what was measured on them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

MOST_EXEMPLARS = 256
"""A set is a handful of pictures that are all looked at in every step, not a data set."""

Measure = Callable[[Tensor], Tensor]
"""A picture or latent as a batch of one to its features (1, d)."""


class ExemplarError(ValueError):
    """Pictures cannot serve as exemplars."""


@dataclass(frozen=True, eq=False)
class ExemplarSet:
    """Real pictures as an immutable value that goes along wires and into caches.

    Attributes:
        pictures: each (3, H, W), uint8; sizes may differ.
        latents: the same pictures as a VAE gives them, each (C, ...), raw; empty where no VAE was at hand.
        latent_format: name of the latents' format; "" without latents or where it is not known.
    """

    pictures: tuple[Tensor, ...]
    latents: tuple[Tensor, ...] = ()
    latent_format: str = ""
    _features: dict[str, Tensor] = field(default_factory=dict, repr=False, init=False)

    def __post_init__(self) -> None:
        if not self.pictures:
            raise ExemplarError("An Exemplar Set needs at least one image.")
        if len(self.pictures) > MOST_EXEMPLARS:
            raise ExemplarError(
                f"An Exemplar Set holds at most {MOST_EXEMPLARS} images, not {len(self.pictures)}: choose some."
            )
        if self.latents and len(self.latents) != len(self.pictures):
            raise ExemplarError(f"There are {len(self.latents)} latents for {len(self.pictures)} images.")

    def __len__(self) -> int:
        return len(self.pictures)

    @classmethod
    def from_images(cls, images: Tensor) -> ExemplarSet:
        """A set of pictures in 0 to 1.

        Args:
            images: (N, 3, H, W).

        Raises:
            ExemplarError: another shape, no picture, or numbers that are not finite.
        """
        if images.ndim != 4 or images.shape[1] != 3 or not images.numel():
            raise ExemplarError(f"Exemplars must be images of shape (N, 3, H, W), not {tuple(images.shape)}.")
        if not bool(images.isfinite().all()):
            raise ExemplarError("The exemplars hold NaN or infinite values. Check what made them.")
        whole = (images.detach().float().clamp(0, 1) * 255).round().to("cpu", torch.uint8)
        return cls(tuple(picture.clone() for picture in whole))

    @property
    def digest(self) -> str:
        """Hash of the pictures and latents, hexadecimal."""
        digest = hashlib.sha256()
        for tensor in (*self.pictures, *self.latents):
            digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def with_latents(self, latents: Sequence[Tensor], latent_format: str = "") -> ExemplarSet:
        """The same pictures with their latents, each (C, ...), raw VAE space."""
        return ExemplarSet(self.pictures, tuple(latent.detach().cpu().float() for latent in latents), latent_format)

    def features(self, tag: str, measure: Measure) -> Tensor:
        """Features (N, d) of the pictures in a space; measured once, then remembered by the tag.

        Args:
            tag: of the space.
            measure: takes a picture (1, 3, H, W) in 0 to 1.
        """
        return self._remembered(tag, lambda: [measure(picture[None].float() / 255) for picture in self.pictures])

    def latent_features(self, tag: str, measure: Measure) -> Tensor:
        """Features (N, d) of the latents in a space; measured once, then remembered by the tag.

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
        return self._remembered(tag, lambda: [measure(latent[None]) for latent in self.latents])

    def get_ram_usage(self) -> int:
        """Bytes held; ComfyUI's cache asks for it when memory runs short."""
        return sum(tensor.nbytes for tensor in (*self.pictures, *self.latents, *self._features.values()))

    def _remembered(self, tag: str, measured: Callable[[], list[Tensor]]) -> Tensor:
        if tag not in self._features:
            self._features[tag] = torch.cat(measured()).detach().cpu().float()
        return self._features[tag]
