"""A real browser for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.editor import launched
from support.missing import library, missing


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium without a window."""
    library("playwright.sync_api")
    try:
        with launched() as browser:
            yield browser
    except FileNotFoundError as error:
        missing(str(error))


@pytest.fixture
def screenshots(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where screenshots go."""
    return request.config.getoption("--screenshots") or tmp_path
