"""The rooms export their public names, and each can be imported first."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

EXPORTS = {
    "guidance": (
        "SparseRepellency",
        "RepellencySettings",
        "VendiGuidance",
        "VendiSettings",
        "FeatureGuidance",
        "Chain",
    ),
    "diffusers": ("steer", "unsteer"),
    "stores": ("MemoryBank", "ExemplarSet", "ProtectedIndex"),
    "metrics": ("measure", "DiversityReport"),
    "features": ("FeatureSpace", "RandomNetwork"),
}


@pytest.mark.parametrize("room", EXPORTS)
def test_a_room_exports_its_public_names(room: str) -> None:
    found = import_module(f"diversity_guidance.{room}")
    assert set(EXPORTS[room]) <= set(found.__all__)
    assert all(hasattr(found, name) for name in found.__all__)


@pytest.mark.parametrize("room", EXPORTS)
def test_each_room_can_be_imported_first(room: str) -> None:
    subprocess.run([sys.executable, "-c", f"import diversity_guidance.{room}"], check=True)
