"""The name of a latent space: the same for every copy of an encoder, another for every other."""

from __future__ import annotations

import pytest
import torch
from diversity_guidance.embedded.assets_path import asset
from diversity_guidance.embedded.latent_space import autoencoder_fingerprint
from diversity_guidance.features.fingerprint import encoder_fingerprint, network_fingerprint
from safetensors.torch import load_file
from torch import Tensor


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return load_file(asset("vae.safetensors"))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_a_cast_or_renamed_copy_has_the_same_name(weights: dict[str, Tensor], dtype: torch.dtype) -> None:
    copy = {f"first_stage_model.{name}": weight.to(dtype) for name, weight in reversed(weights.items())}
    assert encoder_fingerprint(copy) == autoencoder_fingerprint()


def test_values_that_vanish_in_half_precision_keep_their_sign() -> None:
    weight = torch.randn((64, 64), generator=torch.Generator().manual_seed(0)) * 1e-8
    assert encoder_fingerprint({"encoder.weight": weight}) == encoder_fingerprint({"encoder.weight": weight.half()})


def test_another_encoder_or_scale_has_another_name(weights: dict[str, Tensor]) -> None:
    name = next(name for name in weights if "encoder" in name and weights[name].ndim == 4)
    noise = torch.randn(weights[name].shape, generator=torch.Generator().manual_seed(0))
    # A fine-tune that moves one layer by a fiftieth of its size.
    tuned = {**weights, name: weights[name] + 0.02 * weights[name].float().std() * noise}
    scaled = {**weights, "vae_scale": weights["vae_scale"] * 1.2}
    names = {encoder_fingerprint(each) for each in (weights, tuned, scaled)}
    assert len(names) == 3


def test_the_decoder_has_no_part_in_it(weights: dict[str, Tensor]) -> None:
    decoded_otherwise = {key: -value if "decoder" in key else value for key, value in weights.items()}
    assert encoder_fingerprint(decoded_otherwise) == encoder_fingerprint(weights)
    decoder = {name: weight for name, weight in weights.items() if "decoder" in name}
    assert encoder_fingerprint(decoder) != encoder_fingerprint(weights)


def test_no_weights() -> None:
    with pytest.raises(ValueError, match="no weights"):
        encoder_fingerprint({})


def test_the_layer_before_wans_decoder_counts_for_nothing_under_either_name() -> None:
    """ComfyUI calls it conv2, diffusers post_quant_conv; within an encoder conv2 is a layer like any other."""
    encoder = {"encoder.conv1.weight": torch.randn(4, 3), "encoder.block.conv2.weight": torch.randn(4, 4)}
    names = [{**encoder, name: torch.randn(4, 4)} for name in ("conv2.weight", "post_quant_conv.weight")]
    assert encoder_fingerprint(names[0]) == encoder_fingerprint(names[1]) == encoder_fingerprint(encoder)
    changed = {**encoder, "encoder.block.conv2.weight": torch.randn(4, 4)}
    assert encoder_fingerprint(changed) != encoder_fingerprint(encoder)


def test_a_loaded_network_is_read_once() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(4, 4))
    before = network_fingerprint(network)
    assert before == encoder_fingerprint(network.state_dict())
    with torch.no_grad():
        network[0].weight.neg_()
    assert network_fingerprint(network) == before
