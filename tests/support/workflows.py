"""Workflow files of the graph editor (schema 0.4) and graphs in the API format, one into the other.

Only what the example workflows need: no subgraphs in subgraphs, no muted or bypassed nodes, no lists.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .host_client import Prompt
from .subgraphs import unfold

Workflow = dict[str, Any]
ObjectInfo = Mapping[str, Any]

NOTES = ("MarkdownNote", "Note")
WIDGET_TYPES = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
PACK, PACK_VERSION = "diversity-guidance", "0.1.0"
CORE, CORE_VERSION = "comfy-core", "0.3.64"


def inputs_of(info: Mapping[str, Any]) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Name, type and options of every input of a node, in the order of the editor."""
    for group in ("required", "optional"):
        for name, (kind, *options) in info["input"].get(group, {}).items():
            yield name, kind, (options[0] if options else {})


def is_widget(kind: Any, options: Mapping[str, Any]) -> bool:
    """Whether the editor shows an input as a widget rather than a socket."""
    return (isinstance(kind, list) or kind in WIDGET_TYPES) and not options.get("forceInput")


def widget_names(info: Mapping[str, Any]) -> list[str | None]:
    """What each entry of ``widgets_values`` belongs to; None is the editor's own control after a seed."""
    names: list[str | None] = []
    for name, kind, options in inputs_of(info):
        if is_widget(kind, options):
            names.append(name)
            if options.get("control_after_generate"):
                names.append(None)
    return names


def to_api(workflow: Workflow, object_info: ObjectInfo) -> Prompt:
    """A workflow file as a graph in the API format.

    Raises:
        ValueError: a node has more or fewer values than the host knows widgets for.
    """
    workflow = unfold(workflow)
    sources = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    prompt: Prompt = {}
    for node in workflow["nodes"]:
        if node["type"] in NOTES:
            continue
        info = object_info[node["type"]]
        names, values = widget_names(info), node.get("widgets_values", [])
        if len(names) != len(values):
            raise ValueError(f"{node['type']} has {len(values)} values for the widgets {names}.")
        inputs = {name: value for name, value in zip(names, values, strict=True) if name is not None}
        for socket in node.get("inputs", []):
            if socket.get("link") in sources:
                inputs[socket["name"]] = sources[socket["link"]]
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt


def to_workflow(
    prompt: Prompt, object_info: ObjectInfo, places: Mapping[str, tuple[int, int, int, int]], note: str
) -> Workflow:
    """A graph in the API format as a workflow file.

    Args:
        prompt: the graph, in an order in which it can run.
        object_info: what the host knows of its nodes.
        places: x, y, width and height of every node, and of the note, whose id is "note".
        note: text of a note beside the graph.
    """
    links: list[list[Any]] = []
    nodes: dict[str, dict[str, Any]] = {}
    for order, (identity, made) in enumerate(prompt.items()):
        kind = made["class_type"]
        info = object_info[kind]
        node = _node(int(identity), kind, places[identity], order)
        for name, type_name, options in inputs_of(info):
            value = made["inputs"].get(name)
            if not isinstance(value, list):
                if not is_widget(type_name, options):
                    node["inputs"].append({"name": name, "type": type_name, "link": None})
                continue
            source, slot = nodes[value[0]], value[1]
            links.append([len(links) + 1, source["id"], slot, node["id"], len(node["inputs"]), type_name])
            source["outputs"][slot]["links"].append(len(links))
            node["inputs"].append({"name": name, "type": type_name, "link": len(links)})
        node["outputs"] = [
            {"name": name, "type": type_name, "links": []}
            for name, type_name in zip(info["output_name"], info["output"], strict=True)
        ]
        defaults = {name: options.get("default") for name, _, options in inputs_of(info)}
        node["widgets_values"] = [
            "fixed" if name is None else made["inputs"].get(name, defaults[name]) for name in widget_names(info)
        ]
        nodes[identity] = node
    last = max(node["id"] for node in nodes.values()) + 1
    text = _node(last, "MarkdownNote", places["note"], len(nodes)) | {"widgets_values": [note]}
    return {
        "last_node_id": last,
        "last_link_id": len(links),
        "nodes": [*nodes.values(), text],
        "links": links,
        "groups": [],
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def _node(identity: int, kind: str, place: tuple[int, int, int, int], order: int) -> dict[str, Any]:
    ours = kind.startswith("Diversity")
    x, y, width, height = place
    return {
        "id": identity,
        "type": kind,
        "pos": [x, y],
        "size": [width, height],
        "flags": {},
        "order": order,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "properties": {
            "Node name for S&R": kind,
            "cnr_id": PACK if ours else CORE,
            "ver": PACK_VERSION if ours else CORE_VERSION,
        },
    }
