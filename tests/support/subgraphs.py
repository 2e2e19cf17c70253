"""Subgraphs of workflow files: nodes folded into one, and unfolded for the API."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

Workflow = dict[str, Any]

INPUT, OUTPUT = -10, -20
"""The editor's ids of a subgraph's own ends."""


def fold(
    workflow: Workflow,
    ids: Sequence[int],
    title: str,
    widgets: Sequence[tuple[int, str]] = (),
    names: Mapping[tuple[int, str], str] | None = None,
    shared: Mapping[str, Sequence[tuple[int, str]]] | None = None,
    shared_type: str = "INT",
    description: str = "",
    category: str = "diversity",
) -> dict[str, Any]:
    """Move nodes of a workflow into a subgraph and return the node that stands for them.

    Args:
        workflow: what is changed.
        ids: the nodes that go inside.
        title: of the subgraph and its node.
        widgets: node and widget of those that the outer node shows.
        names: what the subgraph calls an inner socket: node and input, or node and output, to its name.
        shared: widgets that are one input of the subgraph, by its name.
        shared_type: of those.
        description: what the editor's library says of it.
        category: where the editor's library lists it.
    """
    names = names or {}
    inner = [node for node in workflow["nodes"] if node["id"] in ids]
    by_id = {node["id"]: node for node in workflow["nodes"]}
    outer_id = max(by_id) + 1
    ends: dict[str, list[dict[str, Any]]] = {"inputs": [], "outputs": []}
    sockets: dict[str, list[dict[str, Any]]] = {"inputs": [], "outputs": []}
    inside: list[dict[str, Any]] = []
    outside: list[list[Any]] = []
    places: dict[tuple[str, Any], int] = {}
    last = workflow["last_link_id"]

    def end(side: str, key: Any, name: str, kind: str, **more: Any) -> int:
        if (side, key) not in places:
            places[side, key] = len(ends[side])
            identity = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{title}/{side}/{name}"))
            ends[side].append({"id": identity, "name": name, "type": kind, "linkIds": [], "label": name})
            empty = {"link": None} if side == "inputs" else {"links": []}
            sockets[side].append({"name": name, "type": kind, "label": name, **more, **empty})
        return places[side, key]

    def add_inside(link: int, source: int, slot: int, target: int, target_slot: int, kind: str) -> None:
        record = {"id": link, "origin_id": source, "origin_slot": slot}
        inside.append({**record, "target_id": target, "target_slot": target_slot, "type": kind})

    # Inputs in the order of their wires, outputs in that of the nodes inside.
    links = sorted(workflow["links"], key=lambda made: (ids.index(made[1]) + 1, made[2]) if made[1] in ids else (0, 0))
    for link, source, slot, target, target_slot, kind in links:
        if source in ids and target in ids:
            add_inside(link, source, slot, target, target_slot, kind)
        elif target in ids:
            socket = by_id[target]["inputs"][target_slot]
            place = end("inputs", (source, slot), names.get((target, socket["name"]), socket["name"]), kind)
            last += 1
            socket["link"] = last
            add_inside(last, INPUT, place, target, target_slot, kind)
            ends["inputs"][place]["linkIds"].append(last)
            if sockets["inputs"][place]["link"] is None:
                sockets["inputs"][place]["link"] = link
                outside.append([link, source, slot, outer_id, place, kind])
            else:
                by_id[source]["outputs"][slot]["links"].remove(link)
        elif source in ids:
            socket = by_id[source]["outputs"][slot]
            place = end("outputs", (source, slot), names.get((source, socket["name"]), socket["name"]), kind)
            socket["links"].remove(link)
            if not ends["outputs"][place]["linkIds"]:
                last += 1
                socket["links"].append(last)
                add_inside(last, source, slot, OUTPUT, place, kind)
                ends["outputs"][place]["linkIds"].append(last)
            sockets["outputs"][place]["links"].append(link)
            outside.append([link, outer_id, place, target, target_slot, kind])
        else:
            outside.append([link, source, slot, target, target_slot, kind])
    for node in inner:
        last = _open_ends(node, names, end, add_inside, ends, last)
    for name, members in (shared or {}).items():
        for identity, widget in members:
            node, last = by_id[identity], last + 1
            node["inputs"].append({"name": widget, "type": shared_type, "widget": {"name": widget}, "link": last})
            place = end("inputs", name, name, shared_type, widget={"name": name})
            add_inside(last, INPUT, place, identity, len(node["inputs"]) - 1, shared_type)
            ends["inputs"][place]["linkIds"].append(last)
    subgraph = str(uuid.uuid5(uuid.NAMESPACE_URL, title))
    origins = ({name: node["properties"][name] for name in ("cnr_id", "ver")} for node in inner)
    origin = next((made for made in origins if made["cnr_id"] == "comfy-core"), {})
    outer = {
        "id": outer_id,
        "type": subgraph,
        "title": title,
        "pos": [0, 0],
        "size": [320, 60],
        "flags": {},
        "order": min(node["order"] for node in inner),
        "mode": 0,
        **sockets,
        "properties": {
            "proxyWidgets": [*(["-1", name] for name in shared or {}), *([str(node), name] for node, name in widgets)],
            **origin,
        },
        "widgets_values": [],
    }
    right = max(node["pos"][0] + node["size"][0] for node in inner)
    definition = {
        "id": subgraph,
        "version": 1,
        "state": {
            "lastGroupId": 0,
            "lastNodeId": max(node["id"] for node in inner),
            "lastLinkId": last,
            "lastRerouteId": 0,
        },
        "revision": 0,
        "config": {},
        "name": title,
        "inputNode": {"id": INPUT, "bounding": [-260, 0, 120, 40 + 20 * len(ends["inputs"])]},
        "outputNode": {"id": OUTPUT, "bounding": [right + 100, 0, 120, 40 + 20 * len(ends["outputs"])]},
        **ends,
        "widgets": [],
        "nodes": inner,
        "groups": [],
        "links": inside,
        "extra": {},
        "category": category,
        "description": description,
    }
    workflow["nodes"] = [node for node in workflow["nodes"] if node["id"] not in ids] + [outer]
    workflow["links"] = outside
    workflow["last_node_id"] = outer_id
    workflow["last_link_id"] = max((link[0] for link in outside), default=0)
    workflow.setdefault("definitions", {"subgraphs": []})["subgraphs"].append(definition)
    return outer


def _open_ends(
    node: dict[str, Any],
    names: Mapping[tuple[int, str], str],
    end: Any,
    add_inside: Any,
    ends: dict[str, list[dict[str, Any]]],
    last: int,
) -> int:
    """Wire sockets without a link that have a name to an end of the subgraph; of the same name to the same."""
    for slot, socket in enumerate(node["inputs"]):
        if socket["link"] is None and (name := names.get((node["id"], socket["name"]))):
            last += 1
            place = end("inputs", name, name, socket["type"])
            socket["link"] = last
            add_inside(last, INPUT, place, node["id"], slot, socket["type"])
            ends["inputs"][place]["linkIds"].append(last)
    for slot, socket in enumerate(node["outputs"]):
        if not socket["links"] and (name := names.get((node["id"], socket["name"]))):
            last += 1
            place = end("outputs", name, name, socket["type"])
            socket["links"].append(last)
            add_inside(last, node["id"], slot, OUTPUT, place, socket["type"])
            ends["outputs"][place]["linkIds"].append(last)
    return last


def unfold(workflow: Workflow) -> Workflow:
    """The same workflow without subgraphs; ids of inner nodes are "outer:inner", as in the editor's prompts."""
    definitions = {made["id"]: made for made in workflow.get("definitions", {}).get("subgraphs", [])}
    nodes: list[dict[str, Any]] = []
    feeds: dict[Any, list[Any]] = {}
    links = {link[0]: link for link in workflow["links"]}
    outputs: dict[tuple[int, int], tuple[Any, int]] = {}
    for node in workflow["nodes"]:
        made = definitions.get(node["type"])
        if made is None:
            nodes.append(node)
            continue
        for record in made["links"]:
            key = f"{node['id']}:{record['id']}"
            if record["target_id"] == OUTPUT:
                outputs[node["id"], record["target_slot"]] = (
                    f"{node['id']}:{record['origin_id']}",
                    record["origin_slot"],
                )
            elif record["origin_id"] == INPUT:
                given = node["inputs"][record["origin_slot"]]["link"]
                if given is not None:
                    feeds[key] = links[given][1:3]
            else:
                feeds[key] = [f"{node['id']}:{record['origin_id']}", record["origin_slot"]]
        for one in made["nodes"]:
            sockets = [
                {**socket, "link": None if socket["link"] is None else f"{node['id']}:{socket['link']}"}
                for socket in one["inputs"]
            ]
            nodes.append({**one, "id": f"{node['id']}:{one['id']}", "inputs": sockets})
    every = [*((link, source, slot) for link, source, slot, *_ in workflow["links"])]
    every += [(key, source, slot) for key, (source, slot) in feeds.items()]
    resolved = [[link, *outputs.get((source, slot), (source, slot))] for link, source, slot in every]
    return {**workflow, "nodes": nodes, "links": resolved}
