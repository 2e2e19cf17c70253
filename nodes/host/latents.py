"""What comes through LATENT sockets."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...stores.bank.entries import content_id


def plain_latents(latent: dict[str, Any], what: str) -> Tensor:
    """The tensor (B, C, ...) of a LATENT.

    Args:
        latent: the socket's value.
        what: how a sentence to the user begins that names it.

    Raises:
        ValueError: it is not one plain tensor.
    """
    samples = latent["samples"]
    if not isinstance(samples, Tensor) or samples.is_nested:
        raise ValueError(
            f"{what} are several latents in one, such as video with sound. Separate them and wire the pictures."
        )
    return samples


def identities(latents: Tensor, latent_format: str) -> tuple[str, ...]:
    """What a bank would call each of these raw latents (B, C, ...).

    In half precision, as banks store them and some hosts pass them on.
    """
    return tuple(content_id(latent, latent_format) for latent in latents.to("cpu", torch.float16))
