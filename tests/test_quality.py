"""Style, types and packaging: what ruff, the type checker and the registries' scanners look at."""

from __future__ import annotations

import subprocess
import sys
from graphlib import CycleError
from pathlib import Path

import pytest
from project.architecture import ROOMS, allowed, arrows, diagram, imports, sources
from project.names import definitions, docstring_lines, foreign_words, public_names
from project.tree import ROOT
from support.missing import SWITCH, library, program

HOST = {"comfy", "comfy_api", "comfy_execution", "comfy_extras", "folder_paths", "node_helpers", "server"}

MAX_MODULES = 14
"""Modules in a folder, its ``__init__`` not counted."""


def check(tool: str, *arguments: str) -> None:
    done = subprocess.run([program(tool), *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.mark.parametrize(("switch", "outcome"), [("1", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_a_missing_tool_is_told(monkeypatch: pytest.MonkeyPatch, switch: str, outcome: type[BaseException]) -> None:
    """Skipped with the remedy, and a failure where continuous integration sets the switch."""
    monkeypatch.setenv(SWITCH, switch)
    with pytest.raises(outcome, match="no-such-tool is not installed; pip install"):
        check("no-such-tool")
    with pytest.raises(outcome, match=r"no_such_library cannot be imported .*; pip install"):
        library("no_such_library")


def test_continuous_integration_skips_nothing_in_silence() -> None:
    assert f"export {SWITCH}=1\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_lint() -> None:
    check("ruff", "check", ".")


def test_format() -> None:
    check("ruff", "format", "--check", ".")


def test_the_registry_would_take_it() -> None:
    """exec, eval, and several statements on one line keep a pack out of the registry."""
    check("ruff", "check", "--isolated", "--select", "S102,S307,E702", ".")


def test_types() -> None:
    check("basedpyright")


def test_the_demo_model_lists_its_words() -> None:
    from diversity_guidance.embedded.text import TextEncoder

    page = (ROOT / "web" / "docs" / "DiversityDemoModel.md").read_text(encoding="utf-8")
    listed = page.split("All words that it knows:")[1].replace("\n", " ").strip().split(", ")
    words = TextEncoder.load().vocabulary.words[1:]
    assert listed == sorted(words)


def test_imports_run_downwards_only() -> None:
    wrong = [
        f"{path.relative_to(ROOT).as_posix()} imports {name}"
        for room in ROOMS
        for path in sources(room)
        for name, is_ours in imports(path)
        if is_ours and name in ROOMS and name not in allowed(room) | {room}
    ]
    assert wrong == []


def test_an_upward_import_is_found(tmp_path: Path) -> None:
    """However it is spelled, and wherever in the file it stands."""
    (inner := tmp_path / "kernels" / "inner").mkdir(parents=True)
    (tmp_path / "kernels" / "a.py").write_text("from ..stores.files import write\nfrom .scale import scale\n")
    (inner / "b.py").write_text("def late():\n    from ... import guidance\n    from ..nodes import kernel\n")
    assert arrows(tmp_path)["kernels"] == {"stores", "guidance"}
    (tmp_path / "stores").mkdir()
    (tmp_path / "stores" / "c.py").write_text("from ..kernels import a\n")
    with pytest.raises(CycleError):
        diagram(tmp_path)


def test_every_folder_with_code_is_a_room() -> None:
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == set(ROOMS)


def test_the_host_is_known_to_nodes_alone() -> None:
    wrong = [
        f"{path.relative_to(ROOT).as_posix()} imports {name}"
        for room in ROOMS
        if room != "nodes"
        for path in sources(room)
        for name, is_ours in imports(path)
        if name in HOST and not is_ours
    ]
    assert wrong == []


def test_folders_stay_small() -> None:
    """A reader takes in a folder at a glance; what outgrows it gets a folder of its own."""
    counts = {
        folder.relative_to(ROOT).as_posix(): len([path for path in folder.glob("*.py") if path.name != "__init__.py"])
        for room in ROOMS
        for folder in {path.parent for path in sources(room)}
    }
    assert {folder: count for folder, count in counts.items() if count > MAX_MODULES} == {}


@pytest.mark.parametrize("room", ROOMS)
def test_private_docstrings_have_one_line(room: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT).as_posix()}:{node.lineno} {name}"
        for path in sources(room)
        for node, name, private in definitions(path)
        if private and docstring_lines(node) > 1
    ]
    assert wrong == []


def test_a_long_private_docstring_is_found(tmp_path: Path) -> None:
    """Of a private name, of a method of one, and of a function in a function; not of a public or dunder method."""
    long = '"""One line.\n\n    Another.\n    """'
    (path := tmp_path / "a.py").write_text(
        f"def _a():\n    {long}\n"
        f"class B:\n    {long}\n    def __call__(self):\n        {long}\n        def c(): {long}\n"
        f"class _D:\n    def e(self): {long}\n"
    )
    found = [name for node, name, private in definitions(path) if private and docstring_lines(node) > 1]
    assert found == ["_a", "B.__call__.c", "_D.e"]


@pytest.mark.parametrize("room", ROOMS)
def test_public_names_use_the_fields_words(room: str) -> None:
    wrong = {
        f"{path.relative_to(ROOT).as_posix()}: {name}"
        for path in sources(room)
        for name in public_names(path)
        if foreign_words(name)
    }
    assert wrong == set()


def test_foreign_words_are_found_in_every_kind_of_name(tmp_path: Path) -> None:
    (path := tmp_path / "picture_map.py").write_text(
        "MOST_ROWS, LEAST_FILES = 1, 2\n_MOST = 2\ndef a(relaxation, *, drawn): pass\n"
        "class PlateOfA:\n    pictures: int\n    def seen_through(self): pass\n    def _recut(self): pass\n"
    )
    found = [name for name in public_names(path) if foreign_words(name)]
    assert sorted(found) == sorted(
        ["picture_map", "MOST_ROWS", "LEAST_FILES", "relaxation", "drawn", "PlateOfA", "pictures", "seen_through"]
    )
    assert not any(foreign_words(name) for name in ("capacity", "template", "pictured", "returns", "ALMOST", "drawing"))


def test_everything_but_nodes_works_without_a_host() -> None:
    """In a process of its own, where nothing else has imported torch's or the host's modules."""
    code = (
        "import sys, diversity_guidance, diversity_guidance.cli, diversity_guidance.guidance.repellency.guidance,"
        "diversity_guidance.stores.bank.bank, diversity_guidance.kernels.repellency\n"
        "assert not [name for name in sys.modules if name.split('.')[0] in ('comfy', 'comfy_api')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
