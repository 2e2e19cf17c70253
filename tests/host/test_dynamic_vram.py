"""A host that hands out native memory: what the user's networks own is never copied, and never freed by us."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import diversity_guidance
import pytest
from project.tree import ROOT

SCRIPT = ROOT / "tests" / "support" / "dynamic_vram.py"
HOSTS = [os.environ.get("COMFYUI_PATH"), os.environ.get("COMFYUI_PATH_3"), "~/comfy/ComfyUI-late"]


def test_native_buffers_stay_the_hosts() -> None:
    folders = [Path(host).expanduser() for host in HOSTS if host]
    folder = next((each for each in folders if (each / ".venv/bin/python").is_file()), None)
    if folder is None:
        pytest.skip("there is no ComfyUI of its own environment; point COMFYUI_PATH at one with Dynamic VRAM")
    package = Path(diversity_guidance.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(package)}
    command = [str(folder / ".venv/bin/python"), str(SCRIPT), str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, timeout=300)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1]) == {
        "same as the host": True,
        "gradient": True,
        "dimensions": [24, 32],
        "freed while in use": [],
        "freed after the run": [],
    }


def test_no_module_is_deep_copied() -> None:
    product = [path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0] not in ("tests", ".venv", "venv")]
    fixtures = [*(ROOT / "tests/host/custom_node").glob("*.py")]
    assert [path.name for path in (*product, *fixtures) if "deepcopy(" in path.read_text("utf-8")] == []
