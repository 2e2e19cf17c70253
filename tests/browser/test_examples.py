"""Every example and blueprint in the real graph editor: all nodes known, all wires there, no node on another.

``--screenshots FOLDER`` keeps what the editor shows of each, and before and after each run; ``--campaign`` opens and
runs every example in both renderings.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.editor import RENDERINGS, VIEW, Editor
from support.host_server import PACK, HostServer
from support.layout import box, overlapping, within
from support.model_examples import PREFIX
from support.workflows import NOTES

pytestmark = [pytest.mark.browser, pytest.mark.host]

FILES = sorted([*(PACK / "example_workflows").glob("*.json"), *(PACK / "subgraphs").glob("*.json")])
RUNNABLE = [path for path in FILES if path.parent.name == "example_workflows" and not path.stem.startswith(PREFIX)]
MOST_DIFFERENT = ("08", "Your model - Flux.2 dev", "Your model - Wan 2.2", "Away from my portfolio")
"""Those that Nodes 2.0 opens without ``--campaign``, as it takes long; beginnings of titles."""

SOON = ("02", "05")
"""Those that are run in every test run: both guidance nodes, folded samplers, a report, and a guarantee."""

LOADERS = {"CheckpointLoaderSimple", "UNETLoader", "CLIPLoader", "DualCLIPLoader", "VAELoader", "LoraLoaderModelOnly"}


def opened(server: HostServer, browser: Any, rendering: str) -> Editor:
    return Editor(browser.new_page(viewport=VIEW), server, rendering)


GROWTH = 8
"""Pixels by which a node may be higher than its file says."""


def check_sizes(editor: Editor, name: str, workflow: dict[str, Any]) -> None:
    """No node needs more room than it was given."""
    given = {str(node["id"]): node["size"][1] for node in workflow["nodes"]}
    seen = editor.measured()["nodes"]
    assert [node["title"] for node in seen if node["size"][1] > given[str(node["id"])] + GROWTH] == [], name


def check(editor: Editor, name: str, workflow: dict[str, Any]) -> None:
    """All there, nothing red, no node on another or beside its frame."""
    seen = editor.measured()
    assert len(seen["nodes"]) == len(workflow["nodes"]), name
    assert [node["title"] for node in seen["nodes"] if not node["known"]] == [], name
    assert seen["links"] == len(workflow["links"]), name
    assert overlapping(seen["nodes"]) == [], name
    for node in seen["nodes"]:
        # Weights that are not here are the only thing that the editor may complain of.
        assert not node["red"] or LOADERS & set(node["inner"]), (name, node["title"])
        if seen["frames"] and node["type"] not in NOTES:
            assert sum(within(box(node), frame) for frame in seen["frames"]) == 1, (name, node["title"])


@pytest.mark.parametrize("rendering", RENDERINGS)
def test_every_example_opens_whole_and_without_overlap(
    server: HostServer, browser: Any, rendering: str, screenshots: Path, pytestconfig: pytest.Config
) -> None:
    editor, every = opened(server, browser, rendering), pytestconfig.getoption("--campaign")
    for path in FILES:
        if rendering == RENDERINGS[0] or path.stem.startswith(MOST_DIFFERENT) or every:
            workflow = json.loads(path.read_text(encoding="utf-8"))
            editor.load(workflow)
            check(editor, path.stem, workflow)
            check_sizes(editor, path.stem, workflow)
            editor.shoot(screenshots / f"{path.stem}, {rendering}, opened.png")
    assert editor.crashes == []
    editor.page.close()


def run_and_check(editor: Editor, paths: Sequence[Path], folder: Path, rendering: str) -> None:
    for path in paths:
        workflow = json.loads(path.read_text(encoding="utf-8"))
        editor.load(workflow)
        check(editor, f"{path.stem} before its run", workflow)
        check_sizes(editor, path.stem, workflow)
        editor.shoot(folder / f"{path.stem}, {rendering}, before.png")
        editor.run()
        check(editor, f"{path.stem} after its run", workflow)
        editor.shoot(folder / f"{path.stem}, {rendering}, after.png")
        assert editor.verdicts()["half"] == [], path.stem
    assert editor.crashes == []
    editor.page.close()


@pytest.mark.parametrize("rendering", RENDERINGS)
def test_examples_stay_whole_when_they_have_run(
    server: HostServer, browser: Any, rendering: str, screenshots: Path
) -> None:
    """Nodes grow when they show images and what was done."""
    editor = opened(server, browser, rendering)
    run_and_check(editor, [path for path in RUNNABLE if path.stem.startswith(SOON)], screenshots, rendering)


@pytest.mark.campaign
@pytest.mark.parametrize("rendering", RENDERINGS)
def test_every_example_stays_whole_when_it_has_run(
    server: HostServer, browser: Any, rendering: str, screenshots: Path
) -> None:
    editor = opened(server, browser, rendering)
    run_and_check(editor, RUNNABLE, screenshots, rendering)
