"""Fingerprint of a VAE's encoder: the name of its latent space."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from weakref import WeakKeyDictionary

from torch import Tensor, nn

_SAMPLES = 4096
_DECODER_PARTS = ("decoder", "post_quant")
_DECODER_START = "conv2."
"""Wan's name of the layer before its decoder, which diffusers calls post_quant_conv."""

_known: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()


def network_fingerprint(network: nn.Module) -> str:
    """The fingerprint of a loaded VAE's encoder; computed once.

    Args:
        network: the VAE, from any host.

    Raises:
        ValueError: it has no weights.
    """
    if network not in _known:
        _known[network] = encoder_fingerprint(network.state_dict())
    return _known[network]


def encoder_fingerprint(weights: Mapping[str, Tensor]) -> str:
    """Sixteen hexadecimal digits that differ between VAEs with different encoders.

    Copies in float32, float16 and bfloat16 share a fingerprint: it reads each tensor's shape and the signs of evenly
    spaced values, which no cast changes, and two digits of single numbers. It ignores names, so a host may rename the
    layers, and the decoder, since VAEs that differ only there share their latents.

    Args:
        weights: the state dict of a VAE, on any device; without an encoder, all weights count.

    Raises:
        ValueError: there are no weights.
    """
    floating = {name: weight for name, weight in weights.items() if weight.is_floating_point() and weight.numel()}
    encoder = {name: weight for name, weight in floating.items() if not _decodes(name)}
    if not floating:
        raise ValueError("This VAE has no weights, so its latents cannot be told from those of another.")
    digest = hashlib.sha256()
    for part in sorted(_described(weight) for weight in (encoder or floating).values()):
        digest.update(part)
    return digest.hexdigest()[:16]


def _decodes(name: str) -> bool:
    return name.startswith(_DECODER_START) or any(part in name for part in _DECODER_PARTS)


def _described(weight: Tensor) -> bytes:
    """Digest of a tensor: its shape without axes of length one and its signs, or the value of a single number."""
    flat = weight.detach().flatten()
    if len(flat) == 1:
        return hashlib.sha256(f"{float(flat):.1e}".encode()).digest()
    shape = tuple(length for length in weight.shape if length > 1)
    signs = flat[:: max(1, len(flat) // _SAMPLES)].signbit().cpu().numpy().tobytes()
    return hashlib.sha256(f"{shape}".encode() + signs).digest()
