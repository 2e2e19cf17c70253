"""The graph editor in a browser: opens workflows, runs them, and tells where everything stands and what is said."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .host_server import HostServer

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Page

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
RENDERINGS = ("classic", "Nodes 2.0")
VIEW = {"width": 1900, "height": 1000}
PATIENCE = 300_000  # ms: a busy machine loads the editor slowly

STARTED = """() =>
    Boolean(window.app?.canvas?.graph && window.comfyAPI?.api && window.LiteGraph.registered_node_types.DiversityReport)
"""

LOAD = """async workflow => {
    await window.app.loadGraphData(workflow);
    await new Promise(done => setTimeout(done, 500));
}"""

RUN = """async () => {
    const { api } = window.comfyAPI.api;
    const ended = new Promise((done, failed) => {
        const once = { once: true }, told = event => failed(new Error(JSON.stringify(event.detail)));
        api.addEventListener('execution_success', done, once);
        api.addEventListener('execution_error', told, once);
    });
    await window.app.queuePrompt(0, 1);
    await ended;
}"""

SETTLED = """async () => {
    const shown = () => Object.values(window.app.nodeOutputs ?? {}).flatMap(output => output.images ?? []).length;
    const drawn = () => [...document.querySelectorAll('[data-node-id] img')].every(image => image.naturalWidth)
        && window.app.graph.nodes.every(node => (node.imgs ?? []).every(image => image.naturalWidth));
    for (let time = 0; time < 60 && !(shown() && drawn()); time++) await new Promise(done => setTimeout(done, 250));
    await new Promise(done => setTimeout(done, 2000));
}"""
"""Waits until images are there and nodes have grown to hold them."""

FIT = """async () => {
    const { graph, canvas } = window.app, { ds } = canvas, margin = 120;
    const nodes = graph.nodes.map(node => [node.pos[0], node.pos[1] - 30, node.size[0], node.size[1] + 30]);
    const boxes = [...nodes, ...(graph.groups ?? graph._groups).map(group => [...group._bounding])];
    const [left, top] = [0, 1].map(side => Math.min(...boxes.map(box => box[side])));
    const [right, bottom] = [0, 1].map(side => Math.max(...boxes.map(box => box[side] + box[side + 2])));
    const { clientWidth, clientHeight } = canvas.canvas;
    ds.scale = Math.min((clientWidth - 2 * margin) / (right - left), (clientHeight - 2 * margin) / (bottom - top), 1);
    ds.offset[0] = 1.2 * margin / ds.scale - left;
    ds.offset[1] = 1.2 * margin / ds.scale - top;
    canvas.setDirty(true, true);
    await new Promise(done => setTimeout(done, 600));
    const page = canvas.canvas.getBoundingClientRect(), edge = 12;
    const at = [page.x + 1.2 * margin - edge, page.y + 1.2 * margin - edge];
    return [...at, (right - left) * ds.scale + 2 * edge, (bottom - top) * ds.scale + 2 * edge];
}"""
"""Shows the whole graph, and gives where it is on the page: left, top, width, height."""


MEASURED = """() => {
    const { graph, canvas } = window.app, { ds } = canvas, page = canvas.canvas.getBoundingClientRect();
    const inner = node => node.subgraph ? node.subgraph.nodes.map(one => one.type) : [node.type];
    const placed = node => {
        const element = document.querySelector(`[data-node-id="${node.id}"]`);
        if (!element) return [node.pos, node.size];
        const { left, top, width, height } = element.getBoundingClientRect();
        const at = [(left - page.left) / ds.scale - ds.offset[0], (top - page.top) / ds.scale - ds.offset[1] + 30];
        return [at, [width / ds.scale - 2, height / ds.scale - 32]];
    };
    return {
        nodes: graph.nodes.map(node => ({
            id: node.id, type: node.type, title: node.title, pos: [...placed(node)[0]], size: [...placed(node)[1]],
            known: inner(node).every(type => type in LiteGraph.registered_node_types),
            red: !!node.has_errors, inner: inner(node),
            widgets: (node.widgets ?? []).filter(widget => !widget.hidden && widget.type !== 'hidden')
                .map(widget => widget.name),
        })),
        frames: (graph.groups ?? graph._groups).map(group => [...group._bounding]),
        links: graph.nodes.flatMap(node => node.inputs ?? []).filter(socket => socket.link != null).length,
    };
}"""
"""In Nodes 2.0 places and sizes are those on the page, without title bar and border."""

HALF_SHOWN = """() => {
    const said = Object.entries(window.app.nodeOutputs ?? {})
        .filter(([id]) => window.app.graph.getNodeById(Number(id)) && !id.includes(':'))
        .flatMap(([, output]) => output.verdict ?? []).map(verdict => verdict.text).filter(Boolean);
    const within = (one, other) => one.left >= other.left - 1 && one.right <= other.right + 1
        && one.top >= other.top - 1 && one.bottom <= other.bottom + 1;
    const whole = text => {
        const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        while (walker.nextNode()) {
            const words = walker.currentNode, start = words.data.indexOf(text);
            if (start < 0) continue;
            const range = document.createRange();
            range.setStart(words, start);
            range.setEnd(words, start + text.length);
            const lines = [...range.getClientRects()];
            let clipped = !lines.length;
            for (let around = words.parentElement; around && around !== document.body; around = around.parentElement)
                if (getComputedStyle(around).overflow !== 'visible')
                    clipped ||= !lines.every(line => within(line, around.getBoundingClientRect()));
            if (!clipped) return true;
        }
        return false;
    };
    return { said, half: said.filter(text => !whole(text)) };
}"""
"""What nodes at first sight say, and which of it cannot be read whole."""


@contextmanager
def launched() -> Iterator[Any]:
    """A Chromium without a window; while it runs, no other event loop can.

    Raises:
        FileNotFoundError: there is none on the path.
    """
    from playwright.sync_api import sync_playwright

    path = next((found for name in CHROMIUMS if (found := shutil.which(name))), None)
    if path is None:
        raise FileNotFoundError("There is no Chromium on the path: install one to test the graph editor.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Editor:
    """A page with the graph editor.

    Args:
        page: of the browser.
        server: whose editor it is.
        rendering: how nodes are shown: one of `RENDERINGS`.
    """

    def __init__(self, page: Page, server: HostServer, rendering: str = RENDERINGS[0]) -> None:
        self.page = page
        self.crashes: list[str] = []
        self.console: list[ConsoleMessage] = []
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: self.crashes.append(str(error.stack or error)))
        page.on("console", lambda message: self.console.append(message))
        server.client.set(
            "Comfy.TutorialCompleted", True
        )  # or a first visit covers everything with a dialog of its own
        server.client.set("Comfy.VueNodes.Enabled", rendering == RENDERINGS[1])
        server.client.set("Comfy.Minimap.Visible", False)
        server.client.set("LiteGraph.Canvas.MinFontSizeForLOD", 0)  # or no text is drawn on small nodes
        page.goto(server.client.address)
        self._wait_for_start()

    def _wait_for_start(self) -> None:
        self.page.wait_for_function(STARTED)
        self.page.wait_for_timeout(3000)  # the editor's own first workflow comes last

    def reload(self) -> None:
        """Load the page anew, which opens the workflow that was open, and show all of it."""
        self.page.wait_for_timeout(2000)  # the editor saves what is open with a delay
        self.page.reload()
        self._wait_for_start()
        self.page.evaluate(FIT)

    def load(self, workflow: Mapping[str, Any]) -> None:
        """Open a workflow and show all of it."""
        self.page.evaluate(LOAD, workflow)
        self.page.evaluate(FIT)

    def run(self) -> None:
        """Queue it, and wait until it is finished and its images are shown."""
        self.page.evaluate(RUN)
        self.page.evaluate(SETTLED)
        self.page.evaluate(FIT)

    def measured(self) -> dict[str, Any]:
        """Nodes with their boxes, frames, and the number of links."""
        return self.page.evaluate(MEASURED)

    def covered(self) -> tuple[float, float, float, float]:
        """Where the graph is on the page: left, top, width, height."""
        return tuple(self.page.evaluate(FIT))

    def verdicts(self) -> dict[str, list[str]]:
        """What nodes say ("said"), and which of it cannot be read whole ("half")."""
        return self.page.evaluate(HALF_SHOWN)

    def shoot(self, path: Path) -> None:
        """Save what the page shows."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path)
