"""Paths of the embedded model's files."""

from __future__ import annotations

from pathlib import Path

ASSETS = Path(__file__).parent / "assets"


def asset(name: str) -> Path:
    """Path of a file of the embedded model.

    Raises:
        ValueError: the file does not exist.
    """
    path = ASSETS / name
    if not path.is_file():
        raise ValueError(
            f"The embedded model's file {name} is missing. Install the package again: the Python package and the "
            "repository have every file; the archive of the Comfy registry leaves out the judge and the real images."
        )
    return path
