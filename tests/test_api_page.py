"""docs/api.md tells of the public names as they stand."""

from __future__ import annotations

from pathlib import Path

import pytest
from project.api import PAGE, page


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python tests/project/api.py"


def test_a_door_that_exports_nothing_of_that_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "guidance").mkdir()
    (tmp_path / "guidance" / "__init__.py").write_text('"""A room."""\n__all__ = ["Missing"]\n')
    with pytest.raises(ValueError, match="has no function or class Missing"):
        page(tmp_path)
