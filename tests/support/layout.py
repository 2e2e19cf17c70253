"""Where nodes of a workflow file stand: sizes, columns with a frame each, and whether boxes overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from .node_sizes import SAID, WIDTH, measured_sizes, speaks
from .workflows import inputs_of

Node = dict[str, Any]
Box = tuple[float, float, float, float]

TITLE = 30
"""Height of a title bar, which the editor draws above a node's position."""

SLOT, WIDGET, TEXT, MARGIN = 25, 30, 110, 30
"""Heights that hold what a subgraph's node shows in both renderings."""

LINES = 50
"""Room for more lines of a text than the editor gives it."""

MISSING = 24
"""Room for the line in which Nodes 2.0 says that a file is missing, below nodes that have no such line anyway."""

ROOM: Mapping[str, int] = {"DiversityMemoryBank": 220} | dict.fromkeys(
    ("VAELoader", "CheckpointLoaderSimple", "LoraLoaderModelOnly"), MISSING
)
"""Room for what nodes show below their widgets: the newest images of a bank, for which Nodes 2.0 takes that much, and
that a file is missing."""

GAP, PADDING, HEADING = 40, 20, 50
WIDE: Mapping[str, tuple[int, int]] = {"SaveImage": (560, 560), "SaveAnimatedWEBP": (560, 560)}


def full_size(node: Node, info: Mapping[str, Any]) -> tuple[int, int]:
    """Width and height that hold a node with what it shows after a run, from sizes measured in the editor.

    Raises:
        KeyError: nodes of this type were not measured.
    """
    if node["type"] in WIDE:
        return WIDE[node["type"]]
    width, height = measured_sizes()[node["type"]]
    texts = sum(kind == "STRING" and bool(options.get("multiline")) for _, kind, options in inputs_of(info))
    said = SAID if speaks(node["type"]) else 0
    return width, height + said + LINES * texts + ROOM.get(node["type"], 0)


def note_size(text: str) -> tuple[int, int]:
    """Width and height of a note that shows all of its text."""
    lines = sum(1 + len(line) // 70 for line in text.split("\n"))
    return 400, 50 + 15 * lines


def box(node: Node) -> Box:
    """Left, top, right and bottom of a node with its title bar."""
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE, x + width, y + height


def within(inner: Box, frame: Sequence[float]) -> bool:
    """Whether a frame (left, top, width, height) holds a box."""
    left, top, width, height = frame
    return left <= inner[0] and top <= inner[1] and inner[2] <= left + width and inner[3] <= top + height


def overlapping(nodes: Sequence[Node]) -> list[tuple[str, str]]:
    """Types of the nodes whose boxes overlap, in pairs."""
    return [
        (first["type"], second["type"]) for first, second in combinations(nodes, 2) if _common(box(first), box(second))
    ]


def _common(first: Box, second: Box) -> bool:
    across = min(first[2], second[2]) - max(first[0], second[0])
    down = min(first[3], second[3]) - max(first[1], second[1])
    return across > 0 and down > 0


def folded_size(node: Node, texts: int = 0) -> tuple[int, int]:
    """Width and height that hold a subgraph's node with its sockets and widgets, of which so many are for texts."""
    widgets = len(node["properties"]["proxyWidgets"]) - texts
    sockets = sum("widget" not in socket for socket in node["inputs"])
    return WIDTH, SLOT * max(sockets, len(node["outputs"])) + WIDGET * widgets + TEXT * texts + MARGIN


def in_frames(
    bands: Sequence[Mapping[str, Sequence[Sequence[Node]]]], colours: Mapping[str, str], level: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Place the nodes of each stack below one another, stack by stack, and give the frames that have a colour.

    Args:
        bands: from the left; each of frames below one another, which are stacks of nodes by the frame's title.
        colours: of frames that are shown.
        level: frames whose last nodes stand beside one another.
    """
    left = 0
    for band in bands:
        ceiling, edge = TITLE, left
        for stacks in band.values():
            start, floor = left, ceiling
            for stack in stacks:
                top = ceiling
                for node in stack:
                    node["pos"] = [start, top]
                    top += node["size"][1] + TITLE + GAP
                start += max(node["size"][0] for node in stack) + GAP
                floor = max(floor, top)
            ceiling, edge = floor + HEADING + PADDING, max(edge, start)
        left = edge + 2 * PADDING
    frames = {title: stacks for band in bands for title, stacks in band.items()}
    last = [frames[title][-1][-1] for title in level]
    for node in last:
        node["pos"][1] = max(other["pos"][1] for other in last)
    shown = {
        title: [node for stack in stacks for node in stack] for title, stacks in frames.items() if title in colours
    }
    return [_frame(number, title, shown[title], colours[title]) for number, title in enumerate(shown, start=1)]


def _frame(number: int, title: str, nodes: Sequence[Node], colour: str) -> dict[str, Any]:
    left = min(node["pos"][0] for node in nodes) - PADDING
    top = min(node["pos"][1] for node in nodes) - TITLE - HEADING
    right = max(node["pos"][0] + node["size"][0] for node in nodes) + PADDING
    bottom = max(node["pos"][1] + node["size"][1] for node in nodes) + PADDING
    bounding = [left, top, right - left, bottom - top]
    return {"id": number, "title": title, "bounding": bounding, "color": colour, "font_size": 24, "flags": {}}
