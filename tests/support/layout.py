"""Where nodes of a workflow file stand: sizes, columns with a frame each, and whether boxes overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from .workflows import NOTES, inputs_of, is_widget, widget_names

Node = dict[str, Any]
Box = tuple[float, float, float, float]

TITLE = 30
"""Height of a title bar, which the editor draws above a node's position."""

SLOT, WIDGET, TEXT, MARGIN = 25, 30, 100, 22
"""Heights that hold what a node shows in both renderings; measured in frontend 1.49.6, where Nodes 2.0 wants more."""

STATUS = 64
"""Room for the lines that our nodes show after a run."""

STRIP: Mapping[str, int] = {"DiversityMemoryBank": 220}
"""Room for images below what a node shows else."""

WIDTH, GAP, PADDING, HEADING = 320, 40, 20, 50
WIDE: Mapping[str, tuple[int, int]] = {"SaveImage": (560, 560), "SaveAnimatedWEBP": (560, 560)}
SHOW_NOTHING = ("DiversityDemoModel",)


def estimated_size(node: Node, info: Mapping[str, Any]) -> tuple[int, int]:
    """Width and height that hold a node with what it shows after a run."""
    if node["type"] in WIDE:
        return WIDE[node["type"]]
    widgets = len(widget_names(info))
    texts = sum(kind == "STRING" and bool(options.get("multiline")) for _, kind, options in inputs_of(info))
    sockets = sum(not is_widget(kind, options) for _, kind, options in inputs_of(info))
    height = SLOT * max(sockets, len(info["output"])) + WIDGET * (widgets - texts) + TEXT * texts + MARGIN
    status = STATUS if node["type"].startswith("Diversity") and node["type"] not in SHOW_NOTHING else 0
    return WIDTH, height + status + STRIP.get(node["type"], 0)


def note_size(text: str) -> tuple[int, int]:
    """Width and height of a note that shows all of its text."""
    lines = sum(1 + len(line) // 70 for line in text.split("\n"))
    return 400, 60 + 18 * lines


def box(node: Node) -> Box:
    """Left, top, right and bottom of a node with its title bar."""
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE, x + width, y + height


def overlapping(nodes: Sequence[Node]) -> list[tuple[str, str]]:
    """Types of the nodes whose boxes overlap, in pairs."""
    return [
        (first["type"], second["type"]) for first, second in combinations(nodes, 2) if _common(box(first), box(second))
    ]


def _common(first: Box, second: Box) -> bool:
    across = min(first[2], second[2]) - max(first[0], second[0])
    down = min(first[3], second[3]) - max(first[1], second[1])
    return across > 0 and down > 0


def in_columns(columns: Mapping[str, Sequence[Node]], colours: Mapping[str, str]) -> list[dict[str, Any]]:
    """Place nodes below one another, column by column, and give the frame of every column that has a colour."""
    groups: list[dict[str, Any]] = []
    left = 0
    for title, nodes in columns.items():
        top = TITLE
        for node in nodes:
            node["pos"] = [left, top]
            top += node["size"][1] + TITLE + GAP
        width = max(node["size"][0] for node in nodes)
        if title in colours:
            frame = [left - PADDING, -HEADING, width + 2 * PADDING, top - TITLE - GAP + HEADING + PADDING]
            groups.append(
                {
                    "id": len(groups) + 1,
                    "title": title,
                    "bounding": frame,
                    "color": colours[title],
                    "font_size": 24,
                    "flags": {},
                }
            )
        left += width + GAP + 2 * PADDING
    return groups


def separate(nodes: Sequence[Node]) -> None:
    """Move nodes down, the uppermost first, until none overlaps another."""
    placed: list[Node] = []
    for node in sorted(nodes, key=lambda node: (node["pos"][1], node["pos"][0])):
        while above := [other for other in placed if _common(box(node), box(other))]:
            node["pos"][1] = max(int(box(other)[3]) for other in above) + TITLE + GAP // 2
        placed.append(node)


def enlarge(nodes: Sequence[Node], object_info: Mapping[str, Any]) -> None:
    """Give every node at least the height that holds it."""
    for node in nodes:
        if node["type"] in NOTES:
            node["size"][1] = max(node["size"][1], note_size(node["widgets_values"][0])[1])
        elif node["type"] in object_info and node["type"] not in WIDE:
            node["size"][1] = max(node["size"][1], estimated_size(node, object_info[node["type"]])[1])
