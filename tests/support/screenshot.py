"""README's images of graphs, from a real editor: ``python -m support.screenshot`` in the tests folder writes them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

from .editor import Editor
from .examples import FOLDER as EXAMPLES
from .host_checkouts import PACK
from .host_server import first_host

FOLDER = PACK / "docs" / "images"
GRAPHS = {"01": "graph.png", "04": "graph_report.png"}
"""Files, by the number of the example that they show."""

VIEW = {"width": 2400, "height": 1400}


def shoot(editor: Editor, example: Path, target: Path) -> None:
    """Open an example, run it, and save the frames and nodes that the canvas shows."""
    editor.load(json.loads(example.read_text(encoding="utf-8")))
    editor.run()
    left, top, width, height = editor.covered()
    editor.page.screenshot(path=target, clip={"x": left, "y": top, "width": width, "height": height})


def main() -> None:
    """Write the images from runs on the first host."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("There is no Chromium.")
    with first_host() as server, sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        editor = Editor(browser.new_page(viewport=VIEW), server)
        for number, name in GRAPHS.items():
            (example,) = EXAMPLES.glob(f"{number} *.json")
            shoot(editor, example, FOLDER / name)


if __name__ == "__main__":
    main()
