"""The embedded model, however it was loaded: its latents are laid out as Stable Diffusion 3's and mean other images."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

from safetensors import safe_open
from torch import nn

from ....embedded.assets_path import asset
from ....embedded.latent_space import LATENT_FORMAT, autoencoder_fingerprint
from ....stores.encoders import EncoderError

LAID_OUT_AS = "SD3"


def format_of(model: Any) -> str:
    """Name of the latent format of a MODEL: the host's, which knows its architecture alone, or the embedded model's."""
    name = type(model.model.latent_format).__name__
    return LATENT_FORMAT if name == LAID_OUT_AS and _is_embedded(model.model.diffusion_model) else name


def check_encoder_fits(model: Any, encoder: str, what: str, advice: str) -> None:
    """Refuse latents of the embedded model's VAE for other models, and those of other VAEs for it.

    Args:
        model: a MODEL.
        encoder: fingerprint of the VAE; "" where it is not known, which fits every model.
        what: how the sentence to the user begins, such as "This VAE".
        advice: what to do, as a sentence.

    Raises:
        EncoderError: the VAE is not the model's.
    """
    latent_format = format_of(model)
    if not encoder or latent_format not in (LAID_OUT_AS, LATENT_FORMAT):
        return
    of_demo, for_demo = encoder == _encoder(), latent_format == LATENT_FORMAT
    if of_demo != for_demo:
        vae, other = ("is", "is not") if of_demo else ("is not", "is")
        raise EncoderError(
            f"{what} {vae} the demo model's, and this model {other} the demo model. Their latents have the same shape "
            f"and mean different images. {advice}"
        )


def _is_embedded(network: nn.Module) -> bool:
    return Counter(tuple(weight.shape) for weight in network.parameters()) == _shapes()


@cache
def _shapes() -> Counter[tuple[int, ...]]:
    """Shapes of the embedded model's weights: a LoRA or another precision leaves them as they are."""
    with safe_open(asset("mmdit.safetensors"), framework="pt") as file:
        return Counter(tuple(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118 (not a dict)


@cache
def _encoder() -> str:
    return autoencoder_fingerprint()
