"""Diverse Noise for a pipeline: what it takes as ``latents``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..guidance.noise import NoiseDesign
from .families import family_of
from .layouts import FLUX_2


def initial_latents(
    pipe: Any,
    design: NoiseDesign,
    numbers: int | Sequence[int],
    *,
    height: int | None = None,
    width: int | None = None,
    frames: int | None = None,
) -> Tensor:
    """Initial noise designed as a set, for ``pipe(..., latents=...)``.

    Args:
        pipe: the pipeline.
        design: of the noise.
        numbers: of the noises, such as ``range(8, 16)`` for a second batch; a single number counts them from 0.
        height: of the images in pixels; None for the pipeline's default.
        width: as ``height``.
        frames: of videos.

    Returns:
        Latents as the pipeline takes them, on the CPU.

    Raises:
        ValueError: the pipeline is of no known family, or height, width or frames must be given.
    """
    family = family_of(pipe)
    shape = _latent_shape(pipe, height, width, frames)
    noise = design.sample(range(numbers) if isinstance(numbers, int) else numbers, shape)
    dtype = torch.float32 if family.in_float32 else getattr(pipe, family.denoisers[0]).dtype
    # Flux.2's pipelines pack what they are given themselves.
    return (noise if family.layout is FLUX_2 else family.layout.packed(noise)).to(dtype)


def _latent_shape(pipe: Any, height: int | None, width: int | None, frames: int | None) -> tuple[int, ...]:
    """Shape of one image's latents, as in ComfyUI."""
    family, config = family_of(pipe), pipe.vae.config
    scale = getattr(pipe, "vae_scale_factor", None) or pipe.vae_scale_factor_spatial
    side = _default_side(pipe)
    sides = [given or side for given in (height, width)]
    channels = config.get("z_dim", None) or config.latent_channels
    if 0 in sides or family.videos != (frames is not None):
        raise ValueError("Say the height and width of the images in pixels, and the frames of videos.")
    step = scale * (2 if family.layout.patch else 1)
    rows, columns = (length // step * (step // scale) for length in sides)
    if family.layout is FLUX_2:
        return (4 * channels, rows // 2, columns // 2)
    if frames is not None:
        return (channels, (frames - 1) // pipe.vae_scale_factor_temporal + 1, rows, columns)
    return (channels, 1, rows, columns) if family.layout.frames else (channels, rows, columns)


def _default_side(pipe: Any) -> int:
    """Side in pixels of a pipeline's images where it is told none; 0 where it has no such default."""
    size = getattr(pipe, "default_sample_size", None)
    if size is None and getattr(pipe, "unet", None) is not None:
        size = pipe.unet.config.sample_size
    return int(size or 0) * int(getattr(pipe, "vae_scale_factor", 0))
