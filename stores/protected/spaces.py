"""Names of a Protected Index's space: raw latents of a latent format, or features of a feature space."""

from __future__ import annotations

LATENT_PREFIX = "latent:"
FEATURE_PREFIX = "features:"
ENCODER_MARK = "@"


def latent_space(latent_format: str, encoder: str = "") -> str:
    """The space of raw VAE latents.

    Args:
        latent_format: its name, such as "SD3".
        encoder: fingerprint of the VAE; "" where unknown.
    """
    return LATENT_PREFIX + latent_format + (ENCODER_MARK + encoder if encoder else "")


def latent_format_of(space: str) -> str:
    """The latent format of a space; "" for a space of features."""
    return space.removeprefix(LATENT_PREFIX).partition(ENCODER_MARK)[0] if space.startswith(LATENT_PREFIX) else ""


def encoder_of(space: str) -> str:
    """Fingerprint of a space's VAE; "" where unknown, and for features."""
    return space.partition(ENCODER_MARK)[2] if space.startswith(LATENT_PREFIX) else ""


def feature_space(tag: str) -> str:
    """The space of features, by the tag of the feature space."""
    return FEATURE_PREFIX + tag


def name_of(space: str) -> str:
    """The space in words, such as "SD3 latents"."""
    if space.startswith(LATENT_PREFIX):
        made_by = f" of the VAE {encoder_of(space)}" if encoder_of(space) else ""
        return f"{latent_format_of(space)} latents{made_by}"
    return f"features of {space.removeprefix(FEATURE_PREFIX)}"
