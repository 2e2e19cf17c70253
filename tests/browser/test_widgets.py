"""Few knobs: how many widgets the editor draws of each of our nodes, in both renderings and on all hosts."""

from __future__ import annotations

from typing import Any

import pytest
from support.editor import RENDERINGS, VIEW, Editor
from support.host_server import HostServer

pytestmark = [pytest.mark.browser, pytest.mark.host]

MOST_WIDGETS = 6

DRAWN = """async kinds => {
    const { graph, canvas } = window.app;
    graph.clear();
    const nodes = kinds.map((kind, place) => {
        const node = LiteGraph.createNode(kind);
        node.pos = [place % 6 * 600, Math.floor(place / 6) * 700];
        graph.add(node);
        return node;
    });
    Object.assign(canvas.ds, { scale: 0.25, offset: [800, 300] });
    canvas.setDirty(true, true);
    await new Promise(done => setTimeout(done, 3000));
    const shown = node => (node.widgets ?? []).filter(widget => !widget.hidden && widget.type !== 'hidden').length;
    const rows = node => document.querySelectorAll(`[data-node-id="${node.id}"] .lg-node-widget`);
    const visible = row => row.getBoundingClientRect().height > 0;
    const isDrawnByPage = document.querySelector('[data-node-id]') !== null;
    const count = node => isDrawnByPage ? [...rows(node)].filter(visible).length : shown(node);
    return { isDrawnByPage, counts: Object.fromEntries(nodes.map(node => [node.type, count(node)])) };
}"""
"""How many widgets are drawn of nodes of each type: by Nodes 2.0 on the page, or else on the canvas."""


def check_few_widgets(server: HostServer, browser: Any, rendering: str) -> None:
    kinds = [kind for kind in server.client.object_info() if kind.startswith("Diversity")]
    editor = Editor(browser.new_page(viewport=VIEW), server, rendering)
    found = editor.page.evaluate(DRAWN, kinds)
    editor.page.close()
    assert found["isDrawnByPage"] == (rendering == RENDERINGS[1])
    assert {kind: count for kind, count in found["counts"].items() if count > MOST_WIDGETS} == {}
    assert found["counts"]["DiversitySparseRepellency"] == MOST_WIDGETS


@pytest.mark.parametrize("rendering", RENDERINGS)
def test_the_first_host(server: HostServer, browser: Any, rendering: str) -> None:
    check_few_widgets(server, browser, rendering)


def test_every_other_host(other_server: HostServer, browser: Any) -> None:
    check_few_widgets(other_server, browser, RENDERINGS[0])
