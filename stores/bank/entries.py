"""Entries of a Memory Bank: a raw VAE latent, its metadata, and the content hash that identifies it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..files import require_storable

LATENTS = "latents"
THUMBNAILS = "thumbnails"
FEATURES = "features/"


@dataclass(frozen=True)
class BankEntry:
    """Metadata of one stored image.

    Attributes:
        id: SHA-256 of the fp16 latent, its shape and its latent format, hexadecimal.
        latent_format: name of the host's latent format, such as "SD3".
        shape: shape (C, ...) of the latent.
        prompt: that it was sampled from, where known.
        seed: the sampler's, where known.
        created: time of the append, ISO 8601 in UTC.
        revision: the bank's revision that added it.
        encoder: fingerprint of its VAE; "" where unknown.
        pinned: whether it is never evicted; no part of what makes two entries equal.
    """

    id: str
    latent_format: str
    shape: tuple[int, ...]
    prompt: str | None
    seed: int | None
    created: str
    revision: int
    encoder: str = ""
    pinned: bool = field(default=False, compare=False)


@dataclass(frozen=True, eq=False)
class NewEntry:
    """An image to store: its tensors by part name (latents, thumbnails, features/<space>), on the CPU.

    An imported one says when it was saved first, and whether it was pinned.
    """

    id: str
    latent_format: str
    prompt: str | None
    seed: int | None
    parts: dict[str, Tensor]
    encoder: str = ""
    created: str = ""
    pinned: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (C, ...) of the latent."""
        return tuple(self.parts[LATENTS].shape)


def content_id(latent: Tensor, latent_format: str) -> str:
    """Content hash of an fp16 latent (C, ...) on the CPU; equal content has an equal id on every machine."""
    header = f"{latent_format}\n{','.join(map(str, latent.shape))}\n"
    little_endian = latent.contiguous().numpy().astype("<f2", copy=False)
    return hashlib.sha256(header.encode() + little_endian.tobytes()).hexdigest()


def prepare_entries(
    latents: Tensor,
    *,
    latent_format: str,
    prompts: str | Sequence[str | None] | None = None,
    seeds: int | Sequence[int | None] | None = None,
    thumbnails: Tensor | None = None,
    features: Mapping[str, Tensor] | None = None,
    encoder: str = "",
) -> list[NewEntry]:
    """Validate a batch and make an entry of each latent, with tensors of its own.

    Args:
        latents: shape (B, C, ...), raw VAE space, any floating dtype and device; stored as fp16.
        latent_format: name of the latent format.
        prompts: one for all or one per latent.
        seeds: one for all or one per latent.
        thumbnails: shape (B, H, W, 3), uint8.
        features: by space, shape (B, ...); fp16 stays fp16, everything else becomes float32.
        encoder: fingerprint of their VAE; "" where unknown.

    Raises:
        ValueError: shapes or counts do not match, or a value is NaN, infinite or beyond fp16.
    """
    if not isinstance(latents, Tensor) or not latents.is_floating_point() or latents.ndim < 2:
        raise ValueError("A bank takes latents as one floating-point tensor of shape (batch, channels, ...).")
    if math.prod(latents.shape[1:]) == 0:
        raise ValueError(f"Latents of shape {tuple(latents.shape)} hold no values. Check the sampler's output size.")
    if not latent_format:
        raise ValueError("The latents' format is unknown. Name it, such as 'SD3', so that banks never mix formats.")
    count = len(latents)
    extras = dict(_checked_extras(count, thumbnails, features))
    entries = []
    each = zip(latents, _one_each(prompts, count, "prompts"), _one_each(seeds, count, "seeds"), strict=True)
    for place, (latent, prompt, seed) in enumerate(each):
        parts = {LATENTS: _finite(latent, torch.float16, f"Latent {place}")}
        for name, values in extras.items():
            dtype = values.dtype if values.dtype in (torch.float16, torch.uint8) else torch.float32
            parts[name] = _finite(values[place], dtype, f"Row {place} of {name}")
        # JSON can hold half of a surrogate pair, which SQLite does not take.
        prompt = None if prompt is None else prompt.encode(errors="replace").decode()
        entries.append(NewEntry(content_id(parts[LATENTS], latent_format), latent_format, prompt, seed, parts, encoder))
    return entries


def check_feature_shape(name: str, held: tuple[int, ...] | None, given: tuple[int, ...]) -> None:
    """Refuse features whose shape differs from that of the bank's features of the same space.

    Raises:
        ValueError: ``held`` is known and is not ``given``.
    """
    if name.startswith(FEATURES) and held not in (None, given):
        raise ValueError(
            f"The bank's features of space {name[len(FEATURES) :]!r} have shape {held}, these have {given}. Use the "
            "model that made the others, or name the space differently."
        )


def _checked_extras(
    count: int, thumbnails: Tensor | None, features: Mapping[str, Tensor] | None
) -> list[tuple[str, Tensor]]:
    extras = []
    if thumbnails is not None:
        fits = thumbnails.ndim == 4 and len(thumbnails) == count and thumbnails.shape[-1] == 3
        if not fits or thumbnails.dtype != torch.uint8 or not thumbnails.numel():
            raise ValueError(
                f"Thumbnails must be uint8 of shape ({count}, height, width, 3), got {thumbnails.dtype} of shape "
                f"{tuple(thumbnails.shape)}."
            )
        extras.append((THUMBNAILS, thumbnails))
    for space, values in (features or {}).items():
        fits = values.ndim >= 2 and len(values) == count and values.is_floating_point()
        if not space or not fits or not math.prod(values.shape[1:]):
            raise ValueError(
                f"Features of space {space!r} must be a floating-point tensor of shape ({count}, ...), got "
                f"{values.dtype} of shape {tuple(values.shape)}, and the space must have a name."
            )
        extras.append((FEATURES + space, values))
    return extras


def _finite(values: Tensor, dtype: torch.dtype, what: str) -> Tensor:
    """A contiguous copy on the CPU; refuses values that are not finite in the dtype."""
    if dtype != torch.uint8:
        require_storable(values, what, dtype)
    copied = torch.empty(tuple(values.shape), dtype=dtype)
    return copied.copy_(values.detach())


def _one_each(values: Any, count: int, what: str) -> Sequence[Any]:
    """A value for each of ``count`` latents, from one for all, one per latent, or None."""
    if values is None or isinstance(values, (str, int)):
        return [values] * count
    if len(values) != count:
        raise ValueError(f"Got {len(values)} {what} for {count} latents. Give one for all or one per latent.")
    return values
