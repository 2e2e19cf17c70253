"""The embedded transformer: key conversion, positions, latent space, and agreement with ComfyUI's own class."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diversity_guidance.embedded.transformer import (
    from_native,
    load_transformer,
    new_transformer,
    position_grid,
    to_model_space,
    to_native,
    to_raw_latents,
)
from safetensors.torch import save_file
from support.in_comfyui import run_in_comfyui

COMFYUI_FORWARD = """
import torch
from safetensors.torch import load_file, save_file
import comfy.sd
network = comfy.sd.load_diffusion_model(weights).model.diffusion_model.float()
given = load_file(inputs)
with torch.no_grad():
    velocity = network(given["x"], given["times"], context=given["context"], y=given["pooled"])
save_file({"velocity": velocity.contiguous()}, outputs)
"""


def randomised(depth: int = 2) -> dict[str, torch.Tensor]:
    """A small transformer's parameters, none of them zero, so that no path through the network is silent."""
    torch.manual_seed(0)
    state = new_transformer(depth).state_dict()
    return {
        key: torch.randn_like(value) * (0.3 if value.ndim == 1 else value[0].numel() ** -0.5)
        for key, value in state.items()
    }


def test_native_keys_survive_a_round_trip() -> None:
    state = randomised()
    native = to_native(state)
    assert "joint_blocks.1.context_block.attn.proj.weight" not in native, "the last block has no context output"
    assert native["joint_blocks.0.x_block.attn.qkv.weight"].shape == (3 * 128, 128)
    back = from_native(native)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)


def test_the_shorter_side_of_the_grid_spans_0_to_15() -> None:
    square, wide = position_grid(4, 4, 8), position_grid(2, 4, 8)
    # The first sine of each half has frequency 1, so it is the sine of the position: columns first, then rows.
    torch.testing.assert_close(square[0, :4, 0], torch.tensor([0.0, 5.0, 10.0, 15.0]).sin())
    torch.testing.assert_close(square[0, ::4, 4], torch.tensor([0.0, 5.0, 10.0, 15.0]).sin())
    torch.testing.assert_close(wide[0, :4, 0], torch.tensor([-7.5, 2.5, 12.5, 22.5]).sin())
    torch.testing.assert_close(wide[0, ::4, 4], torch.tensor([0.0, 15.0]).sin())


def test_model_space_and_raw_latents_are_inverse() -> None:
    raw = torch.randn(2, 16, 8, 8)
    torch.testing.assert_close(to_raw_latents(to_model_space(raw)), raw)


@pytest.mark.host
@pytest.mark.parametrize("size", [(8, 8), (8, 12), (14, 6)])
def test_agrees_with_comfyui(tmp_path: Path, size: tuple[int, int]) -> None:
    weights = tmp_path / "mmdit.safetensors"
    save_file({key: value.contiguous() for key, value in to_native(randomised()).items()}, weights)
    given = {
        "x": torch.randn(3, 16, *size),
        "times": torch.tensor([1000.0, 417.3, 3.0]),
        "context": torch.randn(3, 8, 128),
        "pooled": torch.randn(3, 128),
    }
    expected = run_in_comfyui(COMFYUI_FORWARD, tmp_path, weights, given)["velocity"]
    with torch.no_grad():
        velocity = load_transformer(weights)(
            given["x"], given["context"], given["pooled"], given["times"], return_dict=False
        )[0]
    assert expected.std() > 0.1
    assert (velocity - expected).abs().max() < 1e-5
