"""A real browser for the tests of this folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.missing import library, missing


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium without a window; while it runs, no other event loop can."""
    sync_api = library("playwright.sync_api")
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        missing("There is no Chromium on the path: install one to test the graph editor.")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def screenshots(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where screenshots go."""
    return request.config.getoption("--screenshots") or tmp_path
