"""Shapes of latent formats of images and videos, by ComfyUI's names."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

_CHANNELS_2D = {
    **dict.fromkeys(("SD15", "SDXL", "SDXL_Playground_2_5", "SD_X4"), 4),
    **dict.fromkeys(("SC_Prior", "SD3", "SD3Emoji", "Flux"), 16),
    **{"SC_B": 4, "Flux2": 128, "HunyuanImage21": 64},
    **dict.fromkeys(("ChromaRadiance", "ZImagePixelSpace", "HiDreamO1Pixel", "PixelDiTPixel"), 3),
}
_CHANNELS_3D = {
    **dict.fromkeys(("HunyuanVideo", "Cosmos1CV8x8x8", "Wan21", "SeedVR2", "CogVideoX", "CogVideoX1_5"), 16),
    **{"Mochi": 12, "LTXV": 128, "MiniMaxH3Video": 24, "Wan22": 48, "HunyuanImage21Refiner": 64, "HunyuanVideo15": 32},
}


def latents_shape(latent_format: str, shape: Sequence[int]) -> tuple[int, ...]:
    """The full shape of a tensor of latents: (N, C, H, W), or (N, C, T, H, W) for a video format.

    A single latent may lack the axis N, as trainers store them, and images in a video format the axis T.

    Args:
        latent_format: its name, such as "SD3".
        shape: of the tensor.

    Raises:
        ValueError: the format is unknown, or the shape does not fit it.
    """
    channels, axes = _known(latent_format)
    given = tuple(shape)
    found = {
        padded
        for padded in (given, (1, *given), (*given[:2], 1, *given[2:]))
        if len(padded) == axes and padded[1] == channels and min(padded) > 0
    }
    if len(found) == 1:
        return found.pop()
    wanted = f"({', '.join(['N', str(channels), *['T', 'H', 'W'][5 - axes :]])})"
    fault = "may be one latent or several" if found else f"are no {latent_format} latents"
    raise ValueError(f"numbers of shape {given} {fault}: give them the shape {wanted}.")


def _known(name: str) -> tuple[int, int]:
    """Channels of a format, and axes of its batches."""
    if name in _CHANNELS_2D:
        return _CHANNELS_2D[name], 4
    if name in _CHANNELS_3D:
        return _CHANNELS_3D[name], 5
    names = {each.casefold(): each for each in (*_CHANNELS_2D, *_CHANNELS_3D)}
    near = [names[each] for each in get_close_matches(name.casefold(), names, n=3, cutoff=0.5)]
    known = f"say {' or '.join(near)}, or another of " if near else "say one of "
    raise ValueError(f"{name!r} is no latent format known here: {known}{', '.join(sorted(names.values()))}.")
