"""The graph editor in a real browser: a template is opened, queued and shows pictures and what was done."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from support.editor import VIEW, Editor
from support.host_server import HostServer

pytestmark = [pytest.mark.browser, pytest.mark.host]

SHOWN = {
    "classic": "window.app.graph.nodes.reduce((sum, node) => sum + (node.imgs?.length ?? 0), 0)",
    "Nodes 2.0": "Object.values(window.app.nodeOutputs).reduce((sum, shown) => sum + (shown.images?.length ?? 0), 0)"
    " * Math.min(1, [...document.querySelectorAll('[data-node-id] img')].filter(image => image.naturalWidth).length)",
}
"""Expressions of how many images are shown, in either rendering."""

PATIENCE = 200_000  # ms: a busy machine loads the editor slowly


@pytest.mark.parametrize("nodes", ["classic", "Nodes 2.0"])
@pytest.mark.parametrize(
    ("title", "pictures", "said"),
    [
        (
            "Memory bank that grows with every queue",
            4,
            ["images at revision", "4 images saved, 0 were known already", "Moved"],
        ),
        ("Same prompt, eight alike and eight different", 16, ["Moved"]),
    ],
)
def test_a_template_from_the_browser_to_pictures(
    server: HostServer, browser: Any, tmp_path: Path, nodes: str, title: str, pictures: int, said: list[str]
) -> None:
    page = browser.new_page(viewport={"width": 1900, "height": 1000})
    page.set_default_timeout(PATIENCE)
    complaints: list[str] = []
    page.on(
        "console",
        lambda message: complaints.append(f"{message.text} {message.location}") if message.type == "error" else None,
    )
    server.client.set("Comfy.TutorialCompleted", True)  # or a first visit covers everything with a dialog of its own
    server.client.set("Comfy.VueNodes.Enabled", nodes == "Nodes 2.0")
    page.goto(server.client.address)
    page.get_by_text("Templates", exact=True).first.click()
    page.get_by_text("diversity-guidance", exact=True).first.click()
    at_start = len(complaints)
    crashes: list[str] = []
    page.on("pageerror", lambda error: crashes.append(str(error)))
    page.get_by_text(title).first.click()
    page.get_by_text("Run", exact=True).first.click()
    page.wait_for_function(f"count => {SHOWN[nodes]} >= count", arg=pictures)
    for text in said:
        page.get_by_text(text).first.wait_for()
    page.screenshot(path=tmp_path / "editor.png")
    assert crashes == []
    # The editor looks up the models of its own first workflow in the network.
    assert [text for text in complaints[at_start:] if not re.search("404|huggingface", text)] == []
    assert not [text for text in complaints if "diversity" in text.lower()]
    page.close()


def test_templates_are_listed_by_name(server: HostServer, browser: Any) -> None:
    """The host lists files as its file system does; those of other packs stay as they are."""
    editor = Editor(browser.new_page(viewport=VIEW), server)
    told = {"diversity-guidance": ["02 b", "01 a"], "another": ["d", "c"]}
    editor.page.route("**/workflow_templates", lambda route: route.fulfill(json=told))
    listed = editor.page.evaluate("window.comfyAPI.api.api.getWorkflowTemplates()")
    assert listed == {"diversity-guidance": ["01 a", "02 b"], "another": ["d", "c"]}
    editor.page.close()
