"""Give way to the library of this folder's name, where Python searches the repository before its packages."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def load_library(name: str) -> None:
    """Load the library of a name, which the import of this folder then gives in its place.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    spec = PathFinder.find_spec(name, [place for place in sys.path if Path(place).resolve() != ROOT])
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    sys.modules.pop(__name__, None)
    library = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(library)
