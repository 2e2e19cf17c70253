"""The LoRA file format, and that the one that ships fits the weights that ship."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diversity_guidance.embedded.assets_path import asset
from diversity_guidance.embedded.lora import BASE, TURBO_LORA, Lora, digest_of
from diversity_guidance.embedded.training.low_rank import factorize, linear_layers
from diversity_guidance.embedded.transformer import load_transformer, new_transformer, to_native
from safetensors.torch import load_file, save_file
from torch import Tensor

LAYER = "joint_blocks.0.x_block.attn.qkv"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "mmdit.safetensors"
    save_file({key: value.contiguous() for key, value in to_native(new_transformer(1).state_dict()).items()}, path)
    return path


def difference(layer: str = LAYER, rows: int = 192, rank: int = 2, alpha: float = 6.0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        f"diffusion_model.{layer}.lora_up.weight": torch.randn(rows, rank, generator=generator),
        f"diffusion_model.{layer}.lora_down.weight": torch.randn(rank, 64, generator=generator),
        f"diffusion_model.{layer}.alpha": torch.tensor(alpha),
    }


def written(folder: Path, tensors: dict[str, Tensor], base: Path) -> Path:
    path = folder / "lora.safetensors"
    save_file(tensors, path, {BASE: digest_of(base)})
    return path


def test_a_difference_is_up_times_down_times_alpha_by_rank(tmp_path: Path, base: Path) -> None:
    tensors = difference()
    network = load_transformer(base, written(tmp_path, tensors, base))
    plain, merged = to_native(load_transformer(base).state_dict()), to_native(network.state_dict())
    up, down, _ = tensors.values()
    changed = [key for key in plain if not torch.equal(plain[key], merged[key])]
    assert changed == [f"{LAYER}.weight"]
    torch.testing.assert_close(merged[changed[0]], plain[changed[0]] + 3 * up @ down)


@pytest.mark.parametrize("metadata", [None, {BASE: "0" * 64}])
def test_a_lora_of_other_weights_is_refused(tmp_path: Path, base: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "lora.safetensors"
    save_file(difference(), path, metadata)
    with pytest.raises(ValueError, match=r"other weights than mmdit\.safetensors: take both from the same release"):
        load_transformer(base, path)


@pytest.mark.parametrize("tensors", [difference("joint_blocks.7.x_block.attn.qkv"), difference(rows=5)])
def test_a_difference_that_fits_no_layer_is_refused(tmp_path: Path, base: Path, tensors: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match="do not have in its shape"):
        load_transformer(base, written(tmp_path, tensors, base))


def test_the_nearest_matrix_of_a_rank() -> None:
    generator = torch.Generator().manual_seed(0)
    exact = torch.randn(9, 3, generator=generator) @ torch.randn(3, 7, generator=generator)
    up, down = factorize(exact, 3)
    assert (up.shape, down.shape) == ((9, 3), (3, 7))
    torch.testing.assert_close(up @ down, exact)
    full = torch.randn(9, 7, generator=generator)
    up, down = factorize(full, 4)
    torch.testing.assert_close(torch.dist(up @ down, full), torch.linalg.svdvals(full)[4:].norm())


def test_the_lora_that_ships_fits_the_weights_that_ship() -> None:
    path, weights = asset(TURBO_LORA), asset("mmdit.safetensors")
    lora, native = Lora.load(path, weights), load_file(weights)
    assert path.stat().st_size < 5_000_000
    assert {key.removesuffix(".alpha") for key in lora.tensors if key.endswith(".alpha")} == {
        f"diffusion_model.{layer}" for layer in linear_layers(native)
    }
    for key, value in lora.tensors.items():
        assert value.dtype == torch.float16 and value.isfinite().all(), key
    merged = lora.merged({key: value.float() for key, value in native.items()})
    assert all(value.isfinite().all() for value in merged.values())
