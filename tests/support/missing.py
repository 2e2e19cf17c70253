"""Where a program or library that a test needs is missing: skip with the remedy, or fail where none may be skipped."""

from __future__ import annotations

import os
import shutil
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import pytest

SWITCH = "DIVERSITY_CI"
"""Environment variable that continuous integration sets to 1: what is missing there is a failure."""


REMEDY = 'pip install -e ".[test]" brings it'


def missing(sentence: str) -> NoReturn:
    """Skip the running test, or fail it under the switch.

    Args:
        sentence: what is missing and how to get it.
    """
    if os.environ.get(SWITCH) == "1":
        pytest.fail(f"{sentence} ({SWITCH}=1: nothing is skipped)", pytrace=False)
    pytest.skip(sentence, allow_module_level=True)


def program(name: str) -> str:
    """Path of a program of this Python's environment, or else of one on the path; skips or fails without one."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    return found or missing(f"{name} is not installed; {REMEDY}")


def library(name: str) -> Any:
    """A library of the test extra, imported; skips or fails without it."""
    try:
        return import_module(name)
    except ImportError as error:
        missing(f"{name} cannot be imported ({error}); {REMEDY}")
