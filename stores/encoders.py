"""Which VAE made a store's latents: VAEs of one latent format can decode the same latent to different images."""

from __future__ import annotations


class EncoderError(ValueError):
    """Latents of two VAEs would be mixed or compared."""


def check_encoder(store: str, held: str, given: str, advice: str) -> None:
    """Refuse latents of another VAE; an unknown fingerprint, "", matches any.

    Args:
        store: as the beginning of a sentence, such as "The bank 'cats'".
        held: fingerprint of the store's VAE.
        given: fingerprint of the VAE at hand.
        advice: a sentence that says what to do.

    Raises:
        EncoderError: both are known and differ.
    """
    if held and given and held != given:
        raise EncoderError(f"{store} holds latents made by another VAE ({held}, this one is {given}). {advice}")
