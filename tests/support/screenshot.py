"""README's images of graphs, from a real editor: ``python -m support.screenshot`` in the tests folder writes them."""

from __future__ import annotations

import json
from pathlib import Path

from .editor import Editor, launched
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
    with first_host() as server, launched() as browser:
        editor = Editor(browser.new_page(viewport=VIEW), server)
        for number, name in GRAPHS.items():
            (example,) = EXAMPLES.glob(f"{number} *.json")
            shoot(editor, example, FOLDER / name)


if __name__ == "__main__":
    main()
