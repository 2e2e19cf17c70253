"""A CLIP_VISION of the host's own class with random weights, small enough for a test."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import comfy.clip_vision
import torch

CONFIG = {
    "hidden_act": "quick_gelu",
    "hidden_size": 32,
    "image_size": 32,
    "intermediate_size": 64,
    "layer_norm_eps": 1e-05,
    "model_type": "clip_vision_model",
    "num_attention_heads": 2,
    "num_channels": 3,
    "num_hidden_layers": 3,
    "patch_size": 8,
    "projection_dim": 24,
}
BASE = {
    "hidden_size": 768,
    "image_size": 224,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "patch_size": 32,
    "projection_dim": 512,
}
"""What CLIP ViT-B/32 has otherwise: for measurements of cost, which weights have no part in."""


class TestTinyClipVision:
    """Loads it as a loader node does: in the host's inference mode."""

    CATEGORY = "tests"
    FUNCTION = "build"
    RETURN_TYPES = ("CLIP_VISION",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {}, "optional": {"size": (["tiny", "base"],)}}

    def build(self, size: str = "tiny") -> tuple[Any, ...]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "config.json"
            path.write_text(json.dumps(CONFIG | (BASE if size == "base" else {})), encoding="utf-8")
            model = comfy.clip_vision.ClipVisionModel(str(path))
        generator = torch.Generator().manual_seed(0)
        state = {
            name: weight if "position_ids" in name else torch.randn(weight.shape, generator=generator) * 0.2
            for name, weight in model.model.state_dict().items()
        }
        model.model.load_state_dict(state)
        return (model,)


class TestTextHalf:
    """A CLIP whose every prompt means one image: what a CLIP_VISION says of it."""

    CATEGORY = "tests"
    FUNCTION = "build"
    RETURN_TYPES = ("CLIP",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"clip_vision": ("CLIP_VISION",), "image": ("IMAGE",), "length": ("INT",)}}

    def build(self, clip_vision: Any, image: torch.Tensor, length: int) -> tuple[Any, ...]:
        self.text = clip_vision.encode_image(image)["image_embeds"][:, :length]
        return (self,)

    def tokenize(self, text: str) -> str:
        return text

    def encode_from_tokens(self, tokens: str, return_pooled: bool) -> tuple[torch.Tensor, torch.Tensor]:
        assert tokens and return_pooled
        return self.text[:, None], self.text
