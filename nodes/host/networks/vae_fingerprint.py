"""Fingerprints of VAEs, by the weights of their encoders."""

from __future__ import annotations

from typing import Any

from torch import nn

from ....features.fingerprint import network_fingerprint


def vae_fingerprint(vae: Any) -> str:
    """Sixteen hexadecimal digits, equal for every copy of a VAE; computed once per loaded VAE.

    Args:
        vae: a VAE of ComfyUI.

    Raises:
        ValueError: it has no network or no weights.
    """
    network: Any = getattr(vae, "first_stage_model", None)
    if not isinstance(network, nn.Module):
        raise ValueError("This VAE has no weights to tell its latents by. Load the model's VAE with Load VAE.")
    return network_fingerprint(network)


def known_fingerprint(vae: Any) -> str:
    """The fingerprint of a VAE; "" for None or a VAE without weights."""
    try:
        return "" if vae is None else vae_fingerprint(vae)
    except ValueError:
        return ""
