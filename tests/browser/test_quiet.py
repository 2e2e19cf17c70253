"""On every host the examples open whole, one runs, and neither the server's log nor the console complains of us."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from support.editor import VIEW, Editor
from support.host_server import PACK, HostServer
from support.workflows import NOTES

pytestmark = [pytest.mark.browser, pytest.mark.host]

FOLDER = PACK / "example_workflows"
OPENED = [path for path in sorted(FOLDER.glob("*.json")) if path.stem[0].isdigit()]
(RUN,) = FOLDER.glob("02 *.json")
MOST_WIDGETS = 6
STARTED = "Starting server"
"""What every host says once all packs are loaded."""

OURS = re.compile(r"diversity", re.IGNORECASE)
COMPLAINS = re.compile(r"\b(warning|error|exception|traceback|deprecated|failed)\b", re.IGNORECASE)


def check_quiet(server: HostServer, browser: Any) -> None:
    # Other tests of this host damage banks and provoke errors on purpose.
    start, others = server.log.split(STARTED)[0], len(server.log)
    editor = Editor(browser.new_page(viewport=VIEW), server)
    for path in OPENED:
        workflow = json.loads(path.read_text(encoding="utf-8"))
        editor.load(workflow)
        seen = editor.measured()["nodes"]
        assert len(seen) == len(workflow["nodes"]), path.stem
        assert [node["title"] for node in seen if node["red"] or not node["known"]] == [], path.stem
        ours = [node for node in seen if node["type"].startswith("Diversity") and node["type"] not in NOTES]
        assert [node["title"] for node in ours if len(node["widgets"]) > MOST_WIDGETS] == [], path.stem
    editor.load(json.loads(RUN.read_text(encoding="utf-8")))
    editor.run()
    assert editor.verdicts()["said"]
    assert [crash for crash in editor.crashes if OURS.search(crash)] == []  # old editors have crashes of their own
    told = [f"{message.type}: {message.text} {message.location}" for message in editor.console]
    assert [text for text in told if text.startswith(("error", "warning")) and OURS.search(text)] == []
    editor.page.close()
    lines = [
        line for line in (start + server.log[others:]).splitlines() if OURS.search(line) and COMPLAINS.search(line)
    ]
    assert lines == []


def test_the_first_host(server: HostServer, browser: Any) -> None:
    check_quiet(server, browser)


def test_every_other_host(other_server: HostServer, browser: Any) -> None:
    check_quiet(other_server, browser)
