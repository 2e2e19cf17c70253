"""The report's HTML page in a window as narrow as a phone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from diversity_guidance.cli import main
from PIL import Image


@pytest.mark.parametrize("width", [420, 1100])
def test_nothing_is_wider_than_the_window(browser: Any, tmp_path: Path, width: int) -> None:
    (tmp_path / "images").mkdir()
    for number in range(8):
        name = f"a_name_without_any_space_that_is_far_too_long_for_a_narrow_window_{number:05}_.png"
        Image.new("RGB", (32, 32), (60 * (number // 2), 90, 200 - 40 * (number // 2))).save(tmp_path / "images" / name)
    assert main(["report", str(tmp_path / "images"), "--html", "--output", str(tmp_path)]) == 0
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto((tmp_path / "diversity-report.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # No table is scrolled either.
    assert page.evaluate("[...document.querySelectorAll('.tables')].every((box) => box.scrollWidth <= box.clientWidth)")
    assert page.get_by_text("Which images repeat which").is_visible()
    page.close()
