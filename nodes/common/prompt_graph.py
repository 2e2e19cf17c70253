"""What the prompt, a graph in the API format, tells of the nodes before one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PASSED_ON = {"DiversityRemember": "samples"}
"""Nodes whose first output is one of their inputs, unchanged."""


def stops_early(prompt: Mapping[str, Any] | None, node_id: str | None, name: str) -> bool:
    """Whether a node's latents surely come from a KSamplerAdvanced that leaves noise in them.

    Args:
        prompt: of the run, where the host gives it.
        node_id: the node.
        name: of its input.
    """
    node = _source(prompt or {}, node_id, name)
    while node is not None and (passed := PASSED_ON.get(str(node.get("class_type")))):
        node = _followed(prompt or {}, node, passed)
    if node is None or node.get("class_type") != "KSamplerAdvanced":
        return False
    inputs = node.get("inputs", {})
    end, steps = inputs.get("end_at_step"), inputs.get("steps")
    return (
        inputs.get("return_with_leftover_noise") == "enable"
        and isinstance(end, int)
        and isinstance(steps, int)
        and end < steps
    )


def noted_with(prompt: dict[str, Any] | None, node_id: str | None) -> dict[str, Any] | None:
    """What is saved with a node of the prompt beside its inputs, to be added to; None without a prompt."""
    node = (prompt or {}).get(str(node_id))
    return None if node is None else node.setdefault("_meta", {})


def _source(prompt: Mapping[str, Any], node_id: str | None, name: str) -> Mapping[str, Any] | None:
    node = prompt.get(str(node_id))
    return None if node is None else _followed(prompt, node, name)


def _followed(prompt: Mapping[str, Any], node: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    link = node.get("inputs", {}).get(name)
    return prompt.get(str(link[0])) if isinstance(link, (list, tuple)) and len(link) == 2 else None
