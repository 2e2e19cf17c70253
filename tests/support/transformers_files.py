"""Vision models of random weights, saved the way transformers saves them."""

from __future__ import annotations

from pathlib import Path

import torch

from .missing import library

KINDS = ("clip", "clip_vision_model", "siglip", "siglip_vision_model", "dinov2")

_LAYERS = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
_VISION = {**_LAYERS, "image_size": 32, "patch_size": 16}
_TEXT = {**_LAYERS, "vocab_size": 64, "max_position_embeddings": 8}


def write_transformers(folder: Path, kind: str, seed: int = 0) -> Path:
    """Write one into a folder, which is made; tests that need it are skipped without the library."""
    hf = library("transformers")
    folder.mkdir(parents=True, exist_ok=True)
    makers = {
        "clip": lambda: hf.CLIPModel(hf.CLIPConfig(vision_config=_VISION, text_config=_TEXT, projection_dim=24)),
        "clip_vision_model": lambda: hf.CLIPVisionModelWithProjection(
            hf.CLIPVisionConfig(**_VISION, projection_dim=24)
        ),
        "siglip": lambda: hf.SiglipModel(hf.SiglipConfig(vision_config=_VISION, text_config=_TEXT)),
        "siglip_vision_model": lambda: hf.SiglipVisionModel(hf.SiglipVisionConfig(**_VISION)),
        "dinov2": lambda: hf.Dinov2Model(hf.Dinov2Config(**_LAYERS, image_size=28, patch_size=14)),
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        makers[kind]().save_pretrained(folder)
    return folder
