"""Style, types and packaging: what ruff, the type checker and the registries' scanners look at."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from support.host_server import PACK
from support.missing import SWITCH, program

FLOORS = (
    ("kernels",),
    ("stores", "features"),
    ("guidance",),
    ("metrics",),
    ("embedded",),
    ("demo", "indexing"),
    ("nodes", "benchmarks"),
)
"""The rooms of the house from the ground up; a room imports only from floors below its own."""

ROOMS = {
    room: {other for above in FLOORS[floor:] for other in above} - {room}
    for floor, rooms in enumerate(FLOORS)
    for room in rooms
}
"""The rooms, and those that each must not import."""

HOST = {"comfy", "comfy_api", "comfy_execution", "folder_paths", "server"}

SOURCES = [path for room in ROOMS for path in sorted((PACK / room).rglob("*.py"))]


def check(tool: str, *arguments: str) -> None:
    done = subprocess.run([program(tool), *arguments], cwd=PACK, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.mark.parametrize(("switch", "outcome"), [("1", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_a_missing_tool_is_told(monkeypatch: pytest.MonkeyPatch, switch: str, outcome: type[BaseException]) -> None:
    """Skipped with the remedy, and a failure where continuous integration sets the switch."""
    monkeypatch.setenv(SWITCH, switch)
    with pytest.raises(outcome, match="no-such-tool is not installed; pip install"):
        check("no-such-tool")


def test_continuous_integration_skips_nothing_in_silence() -> None:
    assert f"export {SWITCH}=1\n" in (PACK / ".ci" / "run").read_text(encoding="utf-8")


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

    page = (PACK / "web" / "docs" / "DiversityDemoModel.md").read_text(encoding="utf-8")
    listed = page.split("All words that it knows:")[1].replace("\n", " ").strip().split(", ")
    words = TextEncoder.load().vocabulary.words[1:]
    assert listed == sorted(words)


def imports_of(path: Path) -> list[tuple[str, bool]]:
    """First part of the name of every import, and whether it reaches into another room."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            module = (node.module or "").split(".")[0]
            found.append((module, node.level == len(path.relative_to(PACK).parts)))
        elif isinstance(node, ast.Import):
            found += [(alias.name.split(".")[0], False) for alias in node.names]
    return found


def test_imports_run_downwards_only() -> None:
    """nodes -> (guidance, metrics) -> (stores, features) -> kernels; the host is known to nodes alone."""
    wrong = []
    for path in SOURCES:
        room = path.relative_to(PACK).parts[0]
        for name, reaches_out in imports_of(path):
            if (reaches_out and name in ROOMS[room]) or (room != "nodes" and name in HOST):
                wrong.append(f"{path.relative_to(PACK)} imports {name}")
    assert wrong == []


def test_everything_but_nodes_works_without_a_host() -> None:
    """In a process of its own, where nothing else has imported torch's or the host's modules."""
    code = (
        "import sys, diversity_guidance, diversity_guidance.cli, diversity_guidance.guidance.repellency.guidance,"
        "diversity_guidance.stores.bank.bank, diversity_guidance.kernels.repellency\n"
        "assert not [name for name in sys.modules if name.split('.')[0] in ('comfy', 'comfy_api')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
