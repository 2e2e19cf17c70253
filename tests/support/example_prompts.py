"""The example workflows as graphs for the host, drawn in fewer steps."""

from __future__ import annotations

import json

from .graphs import Node
from .host_checkouts import PACK
from .host_client import HostClient, Prompt
from .workflows import to_api


def quick(client: HostClient, title: str, steps: int = 10) -> Prompt:
    """An example workflow in the API format, every KSampler with so many steps."""
    path = PACK / "example_workflows" / f"{title}.json"
    prompt = to_api(json.loads(path.read_text(encoding="utf-8")), client.object_info())
    for node in prompt.values():
        if node["class_type"] == "KSampler":
            node["inputs"]["steps"] = steps
    return prompt


def savers(prompt: Prompt) -> list[Node]:
    """The nodes that save pictures."""
    return [Node(identity) for identity, node in prompt.items() if node["class_type"] == "SaveImage"]
