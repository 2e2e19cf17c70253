"""Tiny models of more architectures, built from a seed: wide ones whose files could not be small."""

from __future__ import annotations

import math
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.supported_models
import torch
from comfy.ldm.flux.model import FluxParams

TEXT = 32
# Newer hosts ask where a Flux keeps the places of words, older ones do not know the question.
PLACES_OF_WORDS: dict[str, Any] = {"txt_ids_dims": []} if "txt_ids_dims" in FluxParams.__dataclass_fields__ else {}

CONFIGS: dict[str, tuple[type, dict[str, Any]]] = {
    "flux": (
        comfy.supported_models.Flux,
        {
            "image_model": "flux",
            "in_channels": 16,
            "out_channels": 16,
            "patch_size": 2,
            "vec_in_dim": 16,
            "context_in_dim": TEXT,
            "hidden_size": 32,
            "mlp_ratio": 2.0,
            "num_heads": 2,
            "depth": 1,
            "depth_single_blocks": 1,
            "axes_dim": [4, 6, 6],
            "theta": 10000,
            "qkv_bias": True,
            "guidance_embed": True,
            **PLACES_OF_WORDS,
        },
    ),
    "qwen_image": (
        comfy.supported_models.QwenImage,
        {
            "image_model": "qwen_image",
            "in_channels": 64,
            "out_channels": 16,
            "num_layers": 2,
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "joint_attention_dim": TEXT,
            "axes_dims_rope": (4, 6, 6),
        },
    ),
    "lumina2": (
        comfy.supported_models.Lumina2,
        {
            "image_model": "lumina2",
            "in_channels": 16,
            "patch_size": 2,
            "dim": 48,
            "n_layers": 2,
            "n_refiner_layers": 1,
            "n_heads": 2,
            "n_kv_heads": 2,
            "multiple_of": 8,
            "axes_dims": [8, 8, 8],
            "axes_lens": [64, 64, 64],
            "cap_feat_dim": TEXT,
            "qk_norm": True,
        },
    ),
}

# Hosts of before Flux.2 have none.
if hasattr(comfy.supported_models, "Flux2"):
    CONFIGS["flux2"] = (
        comfy.supported_models.Flux2,
        CONFIGS["flux"][1]
        | {
            "image_model": "flux2",
            "in_channels": 128,
            "out_channels": 128,
            "patch_size": 1,
            "vec_in_dim": None,
            "axes_dim": [4, 4, 4, 4],
            "theta": 2000,
            "txt_ids_dims": [3],
            "global_modulation": True,
            "mlp_silu_act": True,
            "qkv_bias": False,
            "ops_bias": False,
        },
    )


class TestArchitecture:
    """A MODEL of random weights, and CONDITIONINGs that fit it."""

    CATEGORY = "tests"
    FUNCTION = "build"
    RETURN_TYPES = ("MODEL", "CONDITIONING", "CONDITIONING")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"kind": (list(CONFIGS),), "seed": ("INT", {"default": 0})}}

    def build(self, kind: str, seed: int) -> tuple[Any, ...]:
        family, settings = CONFIGS[kind]
        config = family(dict(settings))
        config.set_inference_dtype(torch.float32, None)
        model = config.get_model({}, "")
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.diffusion_model.parameters():
            width = max(parameter.shape[-1:], default=1)
            parameter.data = torch.randn(parameter.shape, generator=generator) / math.sqrt(2 * width)
        device = comfy.model_management.get_torch_device()
        patcher = comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=device)
        conditions = []
        for _ in range(2):
            pooled = torch.randn((1, 16), generator=generator)
            details: dict[str, Any] = {"pooled_output": pooled}
            if kind == "lumina2":
                details["attention_mask"] = torch.ones((1, 6), dtype=torch.int64)
            conditions.append([[torch.randn((1, 6, TEXT), generator=generator), details]])
        return (patcher, *conditions)


class TestHooksLeft:
    """Shows how many hooks a model's network has."""

    CATEGORY = "tests"
    FUNCTION = "show"
    RETURN_TYPES = ()
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"model": ("MODEL",)}, "optional": {"after": ("LATENT",)}}

    @classmethod
    def IS_CHANGED(cls, **_: Any) -> float:
        return math.nan

    def show(self, model: Any, after: Any = None) -> dict[str, Any]:
        count = sum(len(module._forward_hooks) for module in model.model.diffusion_model.modules())
        return {"ui": {"text": [str(count)]}}


class OffloadedPatcher(comfy.model_patcher.ModelPatcher):
    """Loads as where there is hardly any memory: weights stay where they are until a module runs."""

    def load(self, device_to: Any = None, lowvram_model_memory: int = 0, *args: Any, **kwargs: Any) -> None:
        super().load(device_to, 1, kwargs.get("force_patch_weights", False), full_load=False)


class TestOffloaded:
    """A copy of a MODEL that the host loads piece by piece while it samples."""

    CATEGORY = "tests"
    FUNCTION = "offload"
    RETURN_TYPES = ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"model": ("MODEL",)}}

    def offload(self, model: Any) -> tuple[Any]:
        network = model.model.model_config.get_model({}, "")
        network.load_state_dict(model.model.state_dict())
        return (OffloadedPatcher(network, load_device=model.load_device, offload_device=model.offload_device),)


class TestIsOffloaded:
    """Shows whether the host has loaded a MODEL piece by piece."""

    CATEGORY = "tests"
    FUNCTION = "show"
    RETURN_TYPES = ()
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"model": ("MODEL",), "after": ("LATENT",)}}

    def show(self, model: Any, after: Any) -> dict[str, Any]:
        return {"ui": {"text": [str(model.model.model_lowvram)]}}


class TestReplacedBlock:
    """A MODEL whose blocks another node replaces, so that they never run."""

    CATEGORY = "tests"
    FUNCTION = "replace"
    RETURN_TYPES = ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"model": ("MODEL",)}}

    def replace(self, model: Any) -> tuple[Any]:
        replaced = model.clone()

        def skip(args: dict[str, Any], _: Any) -> dict[str, Any]:
            return args

        replaced.set_model_patch_replace(skip, "dit", "double_block", 0)
        return (replaced,)


ARCHITECTURE_NODES = (TestArchitecture, TestHooksLeft, TestOffloaded, TestIsOffloaded, TestReplacedBlock)
