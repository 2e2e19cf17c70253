"""A host that hands out native memory: what the user's networks own is never copied, and never freed by us."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from project.tree import ROOT
from support.host_checkouts import Checkout, checkouts

SCRIPT = ROOT / "tests" / "support" / "dynamic_vram.py"


def has_dynamic_vram(host: Checkout) -> bool:
    command = [str(host.python), "-c", "import comfy_aimdo.model_vbar"]
    return subprocess.run(command, capture_output=True, env=host.environment).returncode == 0


def test_native_buffers_stay_the_hosts(tmp_path: Path) -> None:
    host = next((each for each in checkouts() if each is not None and has_dynamic_vram(each)), None)
    if host is None:
        pytest.skip("no ComfyUI here has Dynamic VRAM: point COMFYUI_PATH at one of 2026")
    folder = host.folder
    # The host's Python has the package by its name, whatever the folder of this checkout is called.
    (tmp_path / "diversity_guidance").symlink_to(ROOT, target_is_directory=True)
    environment = {**host.environment, "PYTHONPATH": str(tmp_path)}
    command = [str(host.python), str(SCRIPT), str(folder)]
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
