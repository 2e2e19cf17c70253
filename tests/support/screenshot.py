"""README's image of a graph, from a real editor: ``python -m support.screenshot`` in the tests folder writes it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from .host_checkouts import PACK
from .host_server import HostServer, first_host

TITLE = "Same prompt, eight alike and eight different"
TARGET = PACK / "docs" / "images" / "graph.png"
VIEW = {"width": 2000, "height": 1250}
PATIENCE = 300_000  # ms
BOX = """() => {
  const { ds, canvas } = window.app.canvas, at = canvas.getBoundingClientRect(), margin = 14;
  const boxes = window.app.graph.nodes.map(({ boundingRect: [x, y, width, height] }) => [x, y, x + width, y + height]);
  const edge = (side, choose, from, more) =>
    from + more + ds.scale * (ds.offset[side % 2] + choose(...boxes.map((box) => box[side])));
  return [
    edge(0, Math.min, at.x, -margin),
    edge(1, Math.min, at.y, -margin),
    edge(2, Math.max, at.x, margin),
    edge(3, Math.max, at.y, margin),
  ];
}"""
"""Where all nodes are on the page: left, top, right, bottom."""


def shoot(page: Page, server: HostServer, title: str, target: Path) -> None:
    """Open a template, run it, and save what the canvas shows."""
    page.set_default_timeout(PATIENCE)
    server.client.set("Comfy.TutorialCompleted", True)
    server.client.set("Comfy.VueNodes.Enabled", False)
    page.goto(server.client.address)
    page.get_by_text("Templates", exact=True).first.click()
    page.get_by_text("diversity-guidance", exact=True).first.click()
    page.get_by_text(title).first.click()
    page.get_by_text("Run", exact=True).first.click()
    page.wait_for_function(
        "window.app.graph.nodes.reduce((sum, node) => sum + (node.imgs?.length ?? 0), 0) >= 16", timeout=PATIENCE
    )
    page.evaluate("window.app.canvas.fitViewToSelectionAnimated?.({duration: 1})")
    page.wait_for_timeout(3000)
    left, top, right, bottom = page.evaluate(BOX)
    page.screenshot(path=target, clip={"x": left, "y": top, "width": right - left, "height": bottom - top})


def main() -> None:
    """Write the image from a run on the first host."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("There is no Chromium.")
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    with first_host() as server, sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        shoot(browser.new_page(viewport=VIEW), server, TITLE, target)


if __name__ == "__main__":
    main()
