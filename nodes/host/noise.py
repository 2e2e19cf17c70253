"""Replaces the initial noise of ComfyUI's sampling.

A MODEL with its own initial noise carries an outer-sample wrapper, a plain function, that replaces the sampler's noise.
A run without noise, such as that of a second KSamplerAdvanced, stays without.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import comfy.patcher_extension
import torch
from torch import Tensor

from .sampling import OUTER_SAMPLE, clone_of

KEY = "diversity_guidance_noise"

MAX_BATCH = 4096
"""Samples of a seed that are searched for a noise: the host's largest batch."""

MAX_VALUES = 1 << 28
"""Limit of values generated in a search, reached after 2.4 s, if the noise is not the host's own."""

HEAD = 16
"""Values compared first."""

MakeNoise = Callable[[Sequence[int], tuple[int, ...]], Tensor]
"""Makes the noises for places in a batch, each of shape (C, ...)."""


def with_initial_noise(model: Any, make: MakeNoise, warn: Callable[[str], None]) -> Any:
    """Clone a MODEL so that its runs start from noise made by ``make``; the last such node wins.

    Args:
        model: a MODEL; it stays as it is.
        make: a plain function.
        warn: shows a sentence. A plain function too.
    """

    def sample(executor: Any, *args: Any, **kwargs: Any) -> Tensor:
        given = dict(zip(OUTER_SAMPLE, args, strict=False)) | kwargs
        noise: Tensor = given["noise"]
        packed = len(given.get("latent_shapes") or ()) > 1
        if packed or not bool(noise.any()):
            return executor(*args, **kwargs)
        places = batch_places(noise, given.get("seed"))
        made = make(range(len(noise)) if places is None else places, tuple(noise.shape[1:])).to(noise)
        if places is None:
            warn(
                "The sampler's noise is not ComfyUI's own for its seed, so batch_index could not be read from it: "
                "images were counted from 1. Use the noise output with SamplerCustomAdvanced."
            )
        if args:
            return executor(made, *args[1:], **kwargs)
        return executor(**{**kwargs, "noise": made})

    patched = clone_of(model)
    kind = comfy.patcher_extension.WrappersMP.OUTER_SAMPLE
    patched.remove_wrappers_with_key(kind, KEY)
    patched.add_wrapper_with_key(kind, KEY, sample)
    return patched


def batch_places(noise: Tensor, seed: int | None) -> list[int] | None:
    """The places in a batch for which these noises (B, C, ...) were made; None if they are not the host's own.

    A sampler does not pass on a LATENT's batch_index, but the host's noise depends on it.
    """
    if seed is None:
        return None
    wanted = noise.cpu()
    for dtype in dict.fromkeys((torch.float32, noise.dtype)):
        # Newer hosts make noise in float32, older ones in the dtype of the latents.
        places = _search(wanted, torch.Generator("cpu").manual_seed(seed), dtype)
        if places is not None:
            return places
    return None


def _search(wanted: Tensor, generator: torch.Generator, dtype: torch.dtype) -> list[int] | None:
    start = generator.get_state()
    if torch.equal(wanted, torch.randn(wanted.shape, generator=generator, dtype=dtype).to(wanted.dtype)):
        return list(range(len(wanted)))
    generator.set_state(start)
    heads = wanted.flatten(1)[:, :HEAD]
    places: dict[int, int] = {}
    one = torch.empty((1, *wanted.shape[1:]), dtype=dtype)
    for place in range(min(MAX_BATCH, MAX_VALUES // one.numel())):
        made = one.normal_(generator=generator)[0].to(wanted.dtype)
        alike = (heads == made.flatten()[:HEAD]).all(1).nonzero().flatten().tolist()
        places |= {row: place for row in alike if torch.equal(wanted[row], made)}
        if len(places) == len(wanted):
            return [places[row] for row in range(len(wanted))]
    return None
