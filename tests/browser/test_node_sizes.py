"""The sizes by which examples are laid out are those of the newest editor."""

from __future__ import annotations

from typing import Any

import pytest
from support.editor import RENDERINGS, VIEW, Editor
from support.host_server import HostServer
from support.node_sizes import kinds_in_use, larger, measured, measured_sizes

pytestmark = [pytest.mark.browser, pytest.mark.host]

TOLERANCE = 12
"""Pixels by which fonts and versions may differ."""

ANEW = "Measure them anew with python -m support.node_sizes in the tests folder, and lay the examples out anew."


def test_the_sizes_are_current(server: HostServer, browser: Any) -> None:
    kinds, known = kinds_in_use(), measured_sizes()
    assert set(kinds) <= known.keys(), ANEW
    sizes = larger([measured(Editor(browser.new_page(viewport=VIEW), server, each), kinds) for each in RENDERINGS])
    differing = {
        kind: (size, known[kind])
        for kind, size in sizes.items()
        if any(abs(now - then) > TOLERANCE for now, then in zip(size, known[kind], strict=True))
    }
    assert differing == {}, ANEW
