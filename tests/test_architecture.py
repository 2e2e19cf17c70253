"""docs/architecture.md tells of the house as it stands."""

from __future__ import annotations

import ast
import re

import pytest
from project.architecture import BEGIN, PAGE, ROOMS, drawn, needed
from project.tree import ROOT

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_diagram_is_current() -> None:
    assert drawn(TEXT) == TEXT, "run: python tests/project/architecture.py"


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="has no line"):
        drawn(TEXT.replace(BEGIN, ""))


def test_arrows_that_follow_from_others_are_left_out() -> None:
    graph = {"nodes": {"guidance", "kernels", "stores"}, "guidance": {"kernels"}, "stores": set(), "kernels": set()}
    assert needed(graph) == {
        "nodes": {"guidance", "stores"},
        "guidance": {"kernels"},
        "stores": set(),
        "kernels": set(),
    }


def test_every_room_is_described() -> None:
    table = TEXT.split("| room |")[1].split("\n\n")[0]
    assert sorted(re.findall(r"^\| `(\w+)/` \|", table, re.MULTILINE)) == sorted(ROOMS)


@pytest.mark.parametrize("named", sorted(set(re.findall(r"`([\w./]+(?:/|\.py|\.md)(?:::[\w.]+)?)`", TEXT))))
def test_what_the_page_names_exists(named: str) -> None:
    path, _, name = named.partition("::")
    folders = [ROOT, ROOT / "guidance", ROOT / "docs"]
    found = [folder / path for folder in folders if (folder / path).exists()]
    assert found, f"{path} does not exist"
    if name:
        defined = {
            item.name
            for item in ast.parse(found[0].read_text(encoding="utf-8")).body
            if isinstance(item, ast.ClassDef | ast.FunctionDef)
        }
        assert name in defined
