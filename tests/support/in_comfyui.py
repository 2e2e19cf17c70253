"""Runs a few lines inside an unmodified ComfyUI, in a process of their own: its modules read the command line."""

from __future__ import annotations

import subprocess
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from .host_checkouts import checkout

PREAMBLE = """
import sys
weights, inputs, outputs = sys.argv[1:]
sys.argv = ["comfyui", "--cpu"]
import comfy.options
comfy.options.enable_args_parsing()
"""


def run_in_comfyui(code: str, folder: Path, weights: Path, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Run code that finds `weights`, `inputs` and `outputs` as paths of safetensors files; returns what it wrote."""
    host = checkout(0)
    inputs, outputs = folder / "inputs.safetensors", folder / "outputs.safetensors"
    save_file(given, inputs)
    command = [str(host.python), "-c", PREAMBLE + code, str(weights), str(inputs), str(outputs)]
    done = subprocess.run(command, cwd=host.folder, env=host.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return load_file(outputs)
