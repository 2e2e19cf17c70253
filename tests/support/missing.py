"""Where a program that a test needs is missing: skip with the remedy, or fail where nothing may be skipped."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import pytest

SWITCH = "DIVERSITY_CI"
"""Environment variable that continuous integration sets to 1: what is missing there is a failure."""


def missing(sentence: str) -> NoReturn:
    """Skip the running test, or fail it under the switch.

    Args:
        sentence: what is missing and how to get it.
    """
    if os.environ.get(SWITCH) == "1":
        pytest.fail(f"{sentence} ({SWITCH}=1: nothing is skipped)", pytrace=False)
    pytest.skip(sentence)


def program(name: str) -> str:
    """Path of a program of this Python's environment, or else of one on the path; skips or fails without one."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    return found or missing(f'{name} is not installed; pip install -e ".[test]" brings it')
