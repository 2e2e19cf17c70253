"""Spaces of Protected Indexes by name: raw latents of a latent format, or features of a feature space."""

from __future__ import annotations

LATENT_PREFIX = "latent:"
FEATURE_PREFIX = "features:"


def latent_space(latent_format: str) -> str:
    """The space of raw VAE latents of a format such as "SD3"."""
    return LATENT_PREFIX + latent_format


def feature_space(tag: str) -> str:
    """The space of feature vectors, by the tag of the feature space."""
    return FEATURE_PREFIX + tag


def told(space: str) -> str:
    """The space in words, such as "SD3 latents"."""
    if space.startswith(LATENT_PREFIX):
        return f"{space.removeprefix(LATENT_PREFIX)} latents"
    return f"features of {space.removeprefix(FEATURE_PREFIX)}"
