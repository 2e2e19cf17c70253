"""The example workflows as graphs for the host, drawn in fewer steps."""

from __future__ import annotations

import json
from typing import Any

import torch
from diversity_guidance.embedded.reals import TILE
from torch import Tensor
from torch.nn.functional import avg_pool2d

from .graphs import Node
from .host_checkouts import PACK
from .host_client import HostClient, Prompt
from .workflows import to_api


def quick(client: HostClient, title: str, steps: int = 10) -> Prompt:
    """An example workflow in the API format, every KSampler with so many steps; the title is that after the number."""
    (path,) = (PACK / "example_workflows").glob(f"?? {title}.json")
    prompt = to_api(json.loads(path.read_text(encoding="utf-8")), client.object_info())
    for node in prompt.values():
        if node["class_type"] == "KSampler":
            node["inputs"]["steps"] = steps
    return prompt


def savers(prompt: Prompt) -> list[Node]:
    """The nodes that save pictures."""
    return [Node(identity) for identity, node in prompt.items() if node["class_type"] == "SaveImage"]


def as_sampled(images: list[Any]) -> Tensor:
    """Images (N, 3, 64, 64) in 0..1, without their enlargement."""
    made = torch.stack([torch.from_numpy(image.copy()) for image in images]).movedim(-1, 1) / 255
    return avg_pool2d(made, made.shape[-1] // TILE)
