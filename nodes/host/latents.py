"""What comes through LATENT sockets, and what this session knows about it."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor

from ...stores.bank.entries import content_id

NOISY_KEPT = 1024

_noise_left: OrderedDict[str, float] = OrderedDict()
"""Noise levels of recent results with leftover noise, by content id: a LATENT does not hold its level."""


def plain_latents(latent: dict[str, Any], what: str) -> Tensor:
    """The tensor (B, C, ...) of a LATENT.

    Args:
        latent: the socket's value.
        what: the beginning of a sentence that names it.

    Raises:
        ValueError: it is not one plain tensor.
    """
    samples = latent["samples"]
    if not isinstance(samples, Tensor) or samples.is_nested:
        raise ValueError(
            f"{what} are several latents in one, such as video with sound. Separate them and connect those of the "
            "images."
        )
    return samples


def identities(latents: Tensor, latent_format: str) -> tuple[str, ...]:
    """Content ids of raw latents (B, C, ...) in float16, as banks store them."""
    return tuple(content_id(latent, latent_format) for latent in latents.to("cpu", torch.float16))


def remember_noise_left(latents: Tensor, latent_format: str, level: float) -> None:
    """Note that a run left noise of this level in its result, raw latents (B, C, ...)."""
    for identity in identities(latents, latent_format):
        _noise_left[identity] = level
    while len(_noise_left) > NOISY_KEPT:
        _noise_left.popitem(last=False)


def check_finished(latents: Tensor, latent_format: str, what: str) -> None:
    """Refuse raw latents (B, C, ...) that are known to hold noise.

    Args:
        latents: the latents.
        latent_format: name of their format.
        what: the beginning of a sentence that names them.

    Raises:
        ValueError: a run of a guided MODEL left noise in one of them.
    """
    levels = [_noise_left.get(identity, 0.0) for identity in identities(latents, latent_format)]
    if any(levels):
        raise ValueError(
            f"{what} still hold noise of level {max(levels):.3g}: their sampler stopped before the end of its "
            "schedule. Finish them with a second sampler and connect its result, or let the first one run to its last "
            "step (end_at_step, or sigmas that end at 0)."
        )


def neighbour_correlation(latents: Tensor) -> float:
    """Correlation of neighbouring values along the last two axes, the minimum over latents (B, C, ...).

    It is 0 for white noise, and 1 for a latent that is constant or too small.
    """
    if latents.ndim < 4 or min(latents.shape[-2:]) < 2:
        return 1.0
    values = latents.float()
    centred = values - values.mean((-2, -1), keepdim=True)
    pairs = (centred[..., 1:, :] * centred[..., :-1, :], centred[..., 1:] * centred[..., :-1])
    products = torch.stack([pair.flatten(1).mean(1) for pair in pairs]).mean(0)
    variances = centred.square().flatten(1).mean(1)
    return float(torch.where(variances > 0, products / variances, 1.0).amin())
