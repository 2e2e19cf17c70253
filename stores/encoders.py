"""Which VAE made the latents of a store: two can share a format's name, and their latents mean different images."""

from __future__ import annotations


class EncoderError(ValueError):
    """Latents of two VAEs were to be mixed or compared."""


def check_encoder(store: str, held: str, given: str, advice: str) -> None:
    """Refuse latents of another VAE; a fingerprint that is not known, "", fits every one.

    Args:
        store: what is compared, as a sentence begins with it, such as "The bank 'cats'".
        held: fingerprint of the VAE that made its latents.
        given: fingerprint of the VAE at hand.
        advice: what to do, as a sentence.

    Raises:
        EncoderError: both are known and differ.
    """
    if held and given and held != given:
        raise EncoderError(f"{store} holds latents made by another VAE ({held}, this one is {given}). {advice}")
