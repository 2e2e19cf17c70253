"""Every help page in the real editor, in a panel as narrow as the editor makes it."""

from __future__ import annotations

from typing import Any

import pytest
from project.locales import read
from support.host_server import HostServer

pytestmark = [pytest.mark.browser, pytest.mark.host]

PANEL = 290
PATIENCE = 200_000  # ms: a busy machine loads the editor slowly

SELECT = """(kind) => {
  const { app, LiteGraph } = window;
  app.graph.clear();
  const node = LiteGraph.createNode(kind);
  node.pos = [400, 300];
  app.graph.add(node);
  app.canvas.selectNode(node);
  app.canvas.setDirty(true, true);
}"""

MEASURED = """(panel) => {
  const page = document.querySelector(".node-help-content");
  page.style.width = page.style.maxWidth = `${panel}px`;
  const images = [...page.querySelectorAll("img")];
  return {
    overflow: page.scrollWidth - panel,
    images: images.map((image) => [image.naturalWidth, image.clientWidth]),
    loaded: images.every((image) => image.complete && image.naturalWidth > 0),
  };
}"""


def test_every_page_opens_and_fits_a_narrow_panel(server: HostServer, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1900, "height": 1000})
    page.set_default_timeout(PATIENCE)
    server.client.set("Comfy.TutorialCompleted", True)
    server.client.set("Comfy.VueNodes.Enabled", False)
    page.goto(server.client.address)
    page.get_by_text("Templates", exact=True).first.wait_for()
    page.wait_for_timeout(2000)  # the editor's own first workflow comes last
    for place, (kind, texts) in enumerate(read("en", "nodeDefs").items()):
        page.evaluate(SELECT, kind)
        if place == 0:
            page.get_by_test_id("info-button").evaluate("button => button.click()")
        page.locator(".node-help-content h1").get_by_text(texts["display_name"], exact=True).wait_for()
        page.wait_for_function(f"({MEASURED})({PANEL}).loaded")
        found = page.evaluate(MEASURED, PANEL)
        assert found["overflow"] <= 0, f"the help of {kind} is {found['overflow']} pixels too wide"
        assert all(width <= PANEL for _, width in found["images"])
    page.close()
