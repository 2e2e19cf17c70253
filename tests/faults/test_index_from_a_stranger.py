"""An index from a stranger harms nothing outside itself, takes no memory and no time, and says what is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.processes import finish, start
from support.strange_indexes import use_everything

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX processes: run it on Linux or macOS")


def test_every_tampered_index_is_refused_with_a_sentence(tmp_path: Path) -> None:
    """In a process that may take 6 GiB, and 20 seconds for each index."""
    finish(start(use_everything, tmp_path))
