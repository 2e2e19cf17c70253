"""ComfyUI's start noise, exchanged for another: what ``host`` is for estimates, this module is for noise.

A MODEL with start noise of its own carries an outer-sample wrapper, a plain function, that replaces the noise which a
sampler brings. A run without noise, such as the second of two KSamplerAdvanced, stays without.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import comfy.patcher_extension
import torch
from torch import Tensor

from .sampling import OUTER_SAMPLE

KEY = "diversity_guidance_noise"

STOCK_DRAWS = 256
"""How many draws of a seed are searched for a noise, 0.1 s for pictures of 1024 pixels."""

Draw = Callable[[Sequence[int], tuple[int, ...]], Tensor]
"""Draws noise for places in a batch, each of shape (C, ...)."""


def with_start_noise(model: Any, draw: Draw) -> Any:
    """Clone a MODEL so that every run of it starts from noise that ``draw`` makes; the last such node counts.

    Args:
        model: a MODEL; it stays as it is.
        draw: a plain function.
    """

    def sample(executor: Any, *args: Any, **kwargs: Any) -> Tensor:
        given = dict(zip(OUTER_SAMPLE, args, strict=False)) | kwargs
        noise: Tensor = given["noise"]
        packed = len(given.get("latent_shapes") or ()) > 1
        if packed or not bool(noise.any()):
            return executor(*args, **kwargs)
        drawn = draw(batch_places(noise, given.get("seed")), tuple(noise.shape[1:])).to(noise)
        if args:
            return executor(drawn, *args[1:], **kwargs)
        return executor(**{**kwargs, "noise": drawn})

    patched = model.clone()
    kind = comfy.patcher_extension.WrappersMP.OUTER_SAMPLE
    patched.remove_wrappers_with_key(kind, KEY)
    patched.add_wrapper_with_key(kind, KEY, sample)
    return patched


def batch_places(noise: Tensor, seed: int | None) -> list[int]:
    """For which places in a batch these noises (B, C, ...) were drawn.

    A sampler does not pass on a LATENT's batch_index, but the noise that the host made from it tells. Where the noise
    is not the host's own, the places are 0..B-1.
    """
    in_order = list(range(len(noise)))
    if seed is None:
        return in_order
    wanted = noise.cpu()
    generator = torch.Generator("cpu")
    if torch.equal(wanted, torch.randn(wanted.shape, generator=generator.manual_seed(seed), dtype=noise.dtype)):
        return in_order
    generator.manual_seed(seed)
    places: dict[int, int] = {}
    for place in range(STOCK_DRAWS):
        drawn = torch.randn(wanted.shape[1:], generator=generator, dtype=noise.dtype)
        alike = (wanted.flatten(1)[:, 0] == drawn.flatten()[0]).nonzero().flatten().tolist()
        places |= {row: place for row in alike if torch.equal(wanted[row], drawn)}
        if len(places) == len(wanted):
            return [places[row] for row in in_order]
    return in_order
