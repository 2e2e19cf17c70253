"""Help pages: readable in a panel of 290 pixels, complete, and in the words of the field."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from project.tree import ROOT
from support.node_ids import node_classes

DOCS = ROOT / "web" / "docs"
PAGES = sorted(DOCS.glob("*.md"))
PANEL = 290
"""Width of the editor's help panel in pixels."""

CODE = 8.2
"""Width of one character of code there."""

MAX_BYTES = 150_000
"""Of one image on a help page."""

WORDS = r"\b(pictures?|drawn|draws?|drew|start noises?|relaxation)\b"
"""What the field calls images, sampling, initial noise and CFG easing (left of VOCABULARY)."""

ALLOWED = {"same picture"}
"""Words that people search for."""

GUIDANCE = {
    "DiversitySparseRepellency",
    "DiversityVendiGuidance",
    "DiversityFeatureGuidance",
    "DiversityNoise",
}


def images_of(page: Path) -> list[Path]:
    return [page.parent / name for name in re.findall(r"!\[[^]]*\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_table_has_three_columns(page: Path) -> None:
    """Two columns of a table are all that a narrow panel shows without scrolling."""
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line.lstrip().startswith("|")]
    assert [row for row in rows if row.strip().strip("|").count("|") > 1] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_nothing_is_wider_than_the_panel(page: Path) -> None:
    """Text breaks at spaces; what stands in code marks without one must fit."""
    text = page.read_text(encoding="utf-8")
    assert "```" not in text
    assert [code for code in re.findall(r"`([^`]+)`", text) for word in code.split() if len(word) * CODE > PANEL] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_input_is_explained(page: Path) -> None:
    definitions = json.loads((ROOT / "tests" / "host" / "node_definitions.json").read_text(encoding="utf-8"))
    text = page.read_text(encoding="utf-8")
    assert [item["name"] for item in definitions[page.stem]["inputs"] if f"`{item['name']}`" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_images_are_there_and_small(page: Path) -> None:
    for path in images_of(page):
        assert path.is_file() and path.stat().st_size < MAX_BYTES
        with Image.open(path) as image:
            assert image.width >= 2 * PANEL
    assert page.stem not in GUIDANCE or images_of(page)


def texts_of_nodes() -> Iterator[tuple[str, str]]:
    """File and every string in the nodes' code that is more than one word, docstrings aside."""
    for path in sorted({path for path, _ in node_classes().values()} | set((ROOT / "nodes" / "common").glob("*.py"))):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and id(node) not in said and " " in str(node.value):
                yield path.name, str(node.value)


def test_nodes_and_help_say_image_and_generated() -> None:
    told = [(name, text) for name, text in texts_of_nodes() if text not in ALLOWED]
    told += [
        (page.name, line)
        for page in PAGES
        for line in page.read_text(encoding="utf-8").split("All words that it knows:")[0].splitlines()
    ]
    assert [(name, text) for name, text in told if re.search(WORDS, text, re.IGNORECASE)] == []
