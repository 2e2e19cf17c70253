"""The embedded autoencoder: scalars, shapes, the slim trainee in the full layout, agreement with ComfyUI's class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from diversity_guidance.embedded.autoencoder import load_autoencoder
from diversity_guidance.embedded.training.slim_autoencoder import (
    ENCODER_SHAPE,
    FULL_SHAPE,
    Shape,
    pad_state,
    restore,
    slim_decoder,
    slim_encoder,
)
from safetensors.torch import save_file
from support.in_comfyui import run_in_comfyui
from torch import nn

COMFYUI_ROUND_TRIP = """
import comfy.utils, comfy.sd
from safetensors.torch import load_file, save_file
given = load_file(inputs)
vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(weights))
save_file({
    "raw": vae.encode(given["images"].movedim(1, -1)).contiguous(),
    "images": vae.decode(given["raw"]).movedim(-1, 1).contiguous(),
}, outputs)
"""


def randomise(network: nn.Module) -> None:
    """Small random numbers everywhere, last convolutions of blocks included."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1)


@dataclass
class Slim:
    """Random slim networks and the file that holds them in the full layout."""

    encoder: nn.Sequential
    decoder: nn.Sequential
    file: Path


@pytest.fixture
def slim(tmp_path: Path) -> Slim:
    torch.manual_seed(0)
    slim = Slim(slim_encoder(), slim_decoder(), tmp_path / "vae.safetensors")
    randomise(slim.encoder)
    randomise(slim.decoder)
    state = {"vae_scale": torch.tensor(1.7), "vae_shift": torch.tensor(0.04)}
    encoder = pad_state(slim.encoder, slim_encoder(FULL_SHAPE))
    decoder = pad_state(slim.decoder, slim_decoder(FULL_SHAPE))
    state |= {f"taesd_encoder.{key}": value for key, value in encoder.items()}
    state |= {f"taesd_decoder.{key}": value for key, value in decoder.items()}
    save_file(state, slim.file)
    return slim


def test_the_padded_network_computes_what_the_slim_one_does(slim: Slim) -> None:
    autoencoder = load_autoencoder(slim.file)
    images = torch.rand(2, 3, 64, 48)
    with torch.no_grad():
        latents = slim.encoder(images)
        raw = autoencoder.encode(images)
        assert raw.shape == (2, 16, 8, 6)
        torch.testing.assert_close((raw - 0.04) * 1.7, latents, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(autoencoder.decode(raw), slim.decoder(latents).clamp(0, 1), atol=1e-5, rtol=1e-5)


def test_widening_a_network_does_not_change_it() -> None:
    torch.manual_seed(0)
    narrow = slim_decoder(Shape(widths=(8, 16, 24, 24), blocks=(0, 1, 2, 2)))
    randomise(narrow)
    padded = pad_state(narrow, slim_decoder(FULL_SHAPE))
    wide = slim_decoder(Shape(widths=(16, 16, 24, 32), blocks=(1, 3, 3, 3)))
    restore(wide, padded)
    latents = torch.randn(2, 16, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(wide(latents), narrow(latents))
    wide(latents).square().mean().backward()
    new_rows = wide[-1].weight.grad[:, 8:]
    assert new_rows.abs().max() > 0, "silent channels must still be able to learn"


def test_a_network_that_is_too_narrow_is_refused() -> None:
    wide = slim_encoder()
    with pytest.raises(ValueError, match="widen the network"):
        restore(
            slim_encoder(Shape((8, *ENCODER_SHAPE.widths[1:]), ENCODER_SHAPE.blocks)),
            pad_state(wide, slim_encoder(FULL_SHAPE)),
        )


@pytest.mark.host
def test_agrees_with_comfyui(tmp_path: Path, slim: Slim) -> None:
    given = {"images": torch.rand(2, 3, 64, 64), "raw": torch.randn(2, 16, 8, 8)}
    expected = run_in_comfyui(COMFYUI_ROUND_TRIP, tmp_path, slim.file, given)
    autoencoder = load_autoencoder(slim.file)
    assert expected["images"].std() > 0.05
    assert (autoencoder.encode(given["images"]) - expected["raw"]).abs().max() < 1e-5
    assert (autoencoder.decode(given["raw"]) - expected["images"]).abs().max() < 1e-5
