"""The prompt, a graph in the API format: from a node to what is wired to it. It may come from a stranger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

Graph = Mapping[str, Any]


class Found(NamedTuple):
    """An output of a node.

    Attributes:
        id: of the node.
        node: its inputs and class.
        slot: number of the output.
    """

    id: str
    node: Mapping[str, Any]
    slot: int

    @property
    def kind(self) -> str:
        """The node's class."""
        return str(self.node.get("class_type"))


def node_of(graph: Graph, node_id: str | None) -> Mapping[str, Any]:
    """A node of the graph; empty if there is none."""
    node = graph.get(str(node_id))
    return node if isinstance(node, Mapping) and isinstance(node.get("inputs"), Mapping) else {}


def linked(graph: Graph, value: Any) -> Found | None:
    """The output that an input's value names; None where it is no wire."""
    if not isinstance(value, (list, tuple)) or len(value) != 2 or not isinstance(value[1], int):
        return None
    node = node_of(graph, str(value[0]))
    return Found(str(value[0]), node, value[1]) if node else None


def followed(graph: Graph, node: Mapping[str, Any], *names: str) -> Found | None:
    """The output wired to the first of these inputs that has a wire."""
    wires = (linked(graph, node.get("inputs", {}).get(name)) for name in names)
    return next((wire for wire in wires if wire is not None), None)


def noted_with(prompt: dict[str, Any] | None, node_id: str | None) -> dict[str, Any] | None:
    """What is saved with a node of the prompt beside its inputs, to be added to; None without a prompt."""
    node = (prompt or {}).get(str(node_id))
    return None if node is None else node.setdefault("_meta", {})
