"""Every example and blueprint in the real graph editor: all nodes known, all wires there, no node on another."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.host_server import PACK, HostServer
from support.layout import overlapping

pytestmark = [pytest.mark.browser, pytest.mark.host]

FILES = sorted([*(PACK / "example_workflows").glob("*.json"), *(PACK / "subgraphs").glob("*.json")])
MOST_DIFFERENT = (
    "One memory for two prompts",
    "Your model - Flux.2 dev",
    "Your model - Wan 2.2",
    "Away from my portfolio",
)
"""Those that Nodes 2.0 opens, which takes it long."""

LOADERS = {"CheckpointLoaderSimple", "UNETLoader", "CLIPLoader", "DualCLIPLoader", "VAELoader", "LoraLoaderModelOnly"}

OPEN = """async workflow => {
    const {app} = window;
    await app.loadGraphData(workflow);
    await new Promise(done => setTimeout(done, 300));
    const shown = Object.fromEntries([...document.querySelectorAll('[data-node-id]')].map(element => {
        const {width, height} = element.getBoundingClientRect();
        return [element.dataset.nodeId, [width / app.canvas.ds.scale - 2, height / app.canvas.ds.scale - 32]];
    }));
    const inner = node => node.subgraph ? node.subgraph.nodes.map(one => one.type) : [node.type];
    return {
        nodes: app.graph.nodes.map(node => ({
            type: node.title, pos: [...node.pos], size: shown[node.id] ?? [...node.size],
            known: inner(node).every(type => type in LiteGraph.registered_node_types),
            red: !!node.has_errors, inner: inner(node),
        })),
        links: app.graph.nodes.flatMap(node => node.inputs ?? []).filter(socket => socket.link != null).length,
    };
}"""
"""Opens a workflow and tells what is there; in Nodes 2.0 sizes are those on the page, without title bar and border."""


@pytest.mark.parametrize("rendering", ["classic", "Nodes 2.0"])
def test_every_example_opens_whole_and_without_overlap(server: HostServer, browser: Any, rendering: str) -> None:
    server.client.set("Comfy.TutorialCompleted", True)
    server.client.set("Comfy.VueNodes.Enabled", rendering == "Nodes 2.0")
    page = browser.new_page(viewport={"width": 1900, "height": 1000})
    page.set_default_timeout(200_000)
    crashes: list[str] = []
    page.on("pageerror", lambda error: crashes.append(str(error)))
    page.goto(server.client.address)
    page.get_by_text("Templates", exact=True).first.wait_for()
    for path in FILES:
        if rendering == "Nodes 2.0" and path.stem not in MOST_DIFFERENT:
            continue
        workflow = json.loads(path.read_text(encoding="utf-8"))
        seen = page.evaluate(OPEN, workflow)
        assert len(seen["nodes"]) == len(workflow["nodes"]), path.stem
        assert [node["type"] for node in seen["nodes"] if not node["known"]] == [], path.stem
        assert seen["links"] == len(workflow["links"]), path.stem
        assert overlapping(seen["nodes"]) == [], path.stem
        # Weights that are not here are the only thing that the editor may complain of.
        for node in seen["nodes"]:
            assert not node["red"] or LOADERS & set(node["inner"]), (path.stem, node["type"])
    assert crashes == []
    page.close()
