"""An open_clip model of random weights, saved the way open_clip saves one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diversity_guidance.features.content.clip import CONFIG_NAME, WEIGHTS_NAMES
from safetensors.torch import save_file

from .missing import library

DIMENSION = 24
TINY: dict[str, Any] = {
    "embed_dim": DIMENSION,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 1, "layers": 1},
}
BASE: dict[str, Any] = {
    **TINY,
    "embed_dim": 512,
    "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 32},
}
"""The image tower of ViT-B/32: for measurements of cost, which weights have no part in."""

STATISTICS = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]}


def write_open_clip(folder: Path, model: dict[str, Any] = TINY, seed: int = 0, weights: str = WEIGHTS_NAMES[0]) -> Path:
    """Write one into a folder, which is made; tests that need it are skipped without the library."""
    open_clip = library("open_clip")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_NAME).write_text(json.dumps({"model_cfg": model, "preprocess_cfg": STATISTICS}))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        save_file(open_clip.model.CLIP(**model).state_dict(), folder / weights)
    return folder
