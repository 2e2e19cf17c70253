"""How large the newest editor draws nodes, and ``python -m support.node_sizes`` to measure it anew.

Run it from the tests folder when widgets or sockets have changed, and lay the examples out anew afterwards. Types of
nodes as arguments are measured too, before a workflow file holds them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from .editor import RENDERINGS, VIEW, Editor, launched
from .host_checkouts import PACK
from .host_server import first_host
from .workflows import NOTES

Size = tuple[int, int]

FILE = Path(__file__).with_name("node_sizes.json")
"""Width and height of every node of the workflow files, without its title bar: the larger of both renderings."""

WIDTH = 320
"""The least width that nodes get."""

SAID = 84
"""Height that five lines of what a node did take below its widgets."""

SILENT = ("DiversityDemoModel", "DiversityFeatureBlend", "DiversityFeatureMap", "DiversityReportNumbers")
ADD = """async ({ kinds, least }) => {
    const { graph, canvas } = window.app, wait = time => new Promise(done => setTimeout(done, time));
    graph.clear();
    // Nodes 2.0 keeps badges of nodes that are gone, by their ids.
    graph.last_node_id = Date.now() % 1e9;
    kinds.forEach((kind, place) => {
        const node = LiteGraph.createNode(kind);
        node.pos = [place % 10 * 600, Math.floor(place / 10) * 900];
        graph.add(node);
    });
    Object.assign(canvas.ds, { scale: 0.15, offset: [600, 300] });
    await wait(1000);
    for (const node of graph.nodes) {
        const [width, height] = node.computeSize();
        // The editor's own width leaves room for the title; a text says nothing of how wide it must be.
        node.setSize([Math.max(least, node.widgets?.some(widget => widget.element) ? width : node.size[0]), height]);
    }
    canvas.setDirty(true, true);
    await wait(1000);
}"""


def speaks(kind: str) -> bool:
    """Whether nodes of a type say what they did."""
    return kind.startswith("Diversity") and not kind.endswith("Options") and kind not in SILENT


def kinds_in_use() -> list[str]:
    """The types of all nodes of all workflow files, but notes and subgraphs."""
    return sorted({node["type"] for node in _nodes()} - {*NOTES})


def _nodes() -> Iterator[dict[str, Any]]:
    for path in [*(PACK / "example_workflows").glob("*.json"), *(PACK / "subgraphs").glob("*.json")]:
        workflow = json.loads(path.read_text(encoding="utf-8"))
        made = workflow.get("definitions", {}).get("subgraphs", [])
        folded = {subgraph["id"] for subgraph in made}
        for graph in (workflow, *made):
            yield from (node for node in graph["nodes"] if node["type"] not in folded)


def measured(editor: Editor, kinds: Sequence[str]) -> dict[str, Size]:
    """Width and height of a node of each type in the editor's rendering, before it says or shows anything."""
    editor.page.evaluate(ADD, {"kinds": kinds, "least": WIDTH})
    found = {node["type"]: node["size"] for node in editor.measured()["nodes"]}
    return {kind: (round(found[kind][0]), round(found[kind][1])) for kind in kinds}


def larger(sizes: Sequence[dict[str, Size]]) -> dict[str, Size]:
    """The largest width and height of each type."""
    return {kind: (max(one[kind][0] for one in sizes), max(one[kind][1] for one in sizes)) for kind in sizes[0]}


@cache
def measured_sizes() -> dict[str, Size]:
    """What the file holds."""
    return {kind: (width, height) for kind, (width, height) in json.loads(FILE.read_text(encoding="utf-8")).items()}


def main() -> None:
    """Write the file from the first host."""
    with first_host() as server, launched() as browser:
        ours = [kind for kind in server.client.object_info() if kind.startswith("Diversity")]
        kinds = sorted({*kinds_in_use(), *ours, *sys.argv[1:]})
        sizes = larger([measured(Editor(browser.new_page(viewport=VIEW), server, each), kinds) for each in RENDERINGS])
    lines = ",\n".join(f'  "{kind}": {list(sizes[kind])}' for kind in kinds)
    FILE.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
