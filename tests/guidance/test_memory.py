"""A step against a large bank fits into the bank's own memory and a tenth of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from pathlib import Path
import torch
from diversity_guidance.guidance.base import SamplingRun, SamplingStep
from diversity_guidance.guidance.references import ImageReferences
from diversity_guidance.guidance.repellency.guidance import RepellencySettings, SparseRepellency

torch.set_num_threads(1)
count, side, batch = map(int, sys.argv[1:])
shape = (16, side, side)

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024

def drive(bank):
    device, sigmas = torch.device("cpu"), torch.tensor([1.0, 0.0])
    run = SamplingRun(batch, shape, sigmas, device, "SD3", 0, lambda raw: (raw - 0.06) * 1.53)
    guidance = SparseRepellency(RepellencySettings(ensure_outside=True), [ImageReferences(bank)])
    guidance.begin(run)
    noisy = torch.randn(batch, *shape)
    denoised = run.to_model_space(bank[:batch].float()) + 0.01 * noisy
    moved = guidance(denoised, SamplingStep(1.0, 0.0, 0.0, noisy, denoised))
    assert not torch.equal(moved, denoised)
    guidance.finish(moved)
    assert len(guidance.trace.steps[0].samples) == batch

# Filled a row at a time: memory once used would hide what the guidance needs.
bank = torch.empty(count, *shape, dtype=torch.float16)
for row in range(len(bank)):
    bank[row] = torch.randn(shape)
drive(bank[:8])
before = peak()
drive(bank)
print((peak() - before) / bank.nbytes)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
@pytest.mark.parametrize(
    ("count", "side", "batch"), [(12000, 32, 8), (768, 128, 1)], ids=["many references", "large references"]
)
def test_a_run_needs_a_tenth_more_than_its_bank(count: int, side: int, batch: int) -> None:
    command = [sys.executable, "-c", PROGRAM, str(count), str(side), str(batch)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) < 0.1
