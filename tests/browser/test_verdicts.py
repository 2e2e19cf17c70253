"""What nodes said stays on them: after a cached run, and when the page is loaded anew."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.editor import RENDERINGS, VIEW, Editor
from support.host_server import PACK, HostServer

pytestmark = [pytest.mark.browser, pytest.mark.host]

SAYING = {"09": ["quantised noise for 8 images, sets of 16.", "Picked of 8"], "06": ["4 exemplars.", "Moved 8 of 8"]}
"""Beginnings of what is said in the examples whose titles begin so."""


@pytest.mark.parametrize("rendering", RENDERINGS)
@pytest.mark.parametrize("example", SAYING)
def test_what_was_said_is_there_after_a_cached_run_and_a_reload(
    server: HostServer, browser: Any, rendering: str, example: str
) -> None:
    # Other tests run the same examples, too long ago for the editor to read what was said.
    server.client.forget_results()
    (path,) = (PACK / "example_workflows").glob(f"{example} *.json")
    editor = Editor(browser.new_page(viewport=VIEW), server, rendering)
    workflow = json.loads(path.read_text(encoding="utf-8"))
    for node in workflow["nodes"]:
        # What counts on by itself would be another run.
        values = node.get("widgets_values", [])
        node["widgets_values"] = ["fixed" if value == "increment" else value for value in values]
    editor.load(workflow)
    for _ in range(2):
        editor.run()
    editor.reload()
    for text in SAYING[example]:
        editor.page.get_by_text(text).first.wait_for(timeout=30_000)
    assert editor.crashes == []
    editor.page.close()
