"""A step against a large bank fits into the bank's own memory and a tenth of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
from pathlib import Path
import torch
from diversity_guidance.guidance.base import SamplingRun, SamplingStep
from diversity_guidance.guidance.references import Pictures
from diversity_guidance.guidance.repellency.guidance import RepellencySettings, SparseRepellency

torch.set_num_threads(1)
shape = (16, 32, 32)

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024

def drive(bank):
    device, sigmas = torch.device("cpu"), torch.tensor([1.0, 0.0])
    run = SamplingRun(8, shape, sigmas, device, "SD3", 0, lambda raw: (raw - 0.06) * 1.53)
    guidance = SparseRepellency(RepellencySettings(ensure_outside=True), [Pictures(bank)])
    guidance.begin(run)
    noisy = torch.randn(8, *shape)
    denoised = run.to_model_space(bank[:8].float()) + 0.01 * noisy
    moved = guidance(denoised, SamplingStep(1.0, 0.0, 0.0, noisy, denoised))
    assert not torch.equal(moved, denoised)
    guidance.finish(moved)
    assert len(guidance.trace.steps[0].samples) == 8

# Filled a row at a time: memory once used would hide what the guidance needs.
bank = torch.empty(12000, *shape, dtype=torch.float16)
for row in range(len(bank)):
    bank[row] = torch.randn(shape)
drive(bank[:8])
before = peak()
drive(bank)
print((peak() - before) / bank.nbytes)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_a_run_needs_a_tenth_more_than_its_bank() -> None:
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) < 0.1
