"""What the pages and examples show a user of diffusers runs as it stands."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
from PIL import Image
from project.tree import ROOT
from support.missing import library

library("diffusers")

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def blocks(page: str) -> list[str]:
    """The Python code of a page."""
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("page", ["docs/diffusers.md", "README.md"])
def test_a_page_runs(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = "\n".join(blocks(page))
    assert "steer(pipe, " in code
    (script := Path("page.py")).write_text(code, encoding="utf-8")
    runpy.run_path(str(script))
    if page == "docs/diffusers.md":
        assert "Moved 8 of 8 images" in capsys.readouterr().out


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(example))
    assert capsys.readouterr().out
    lines = example.read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line and not line.startswith(("from", "import", '"'))]) <= 11
    for path in Path().glob("*.png"):
        Image.open(path).verify()


def test_there_are_examples() -> None:
    assert {path.stem for path in EXAMPLES} == {"batch", "bank_across_runs", "protected_folder", "report"}
