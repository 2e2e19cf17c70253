"""``diversity-guidance bench bank``: time, memory and disk of a Memory Bank as it grows, without a model.

Times are those of the processor, on one thread. The images have the size of SDXL's; their latents are white noise, for
which no search is faster than reading all.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TypeVar

import torch
from torch import Tensor

from ..guidance.base import SamplingRun, SamplingStep
from ..guidance.repellency.guidance import RepellencySettings, SparseRepellency
from ..stores.bank.bank import MemoryBank
from .summary import markdown_table

SHAPE = (4, 128, 128)
LATENT_FORMAT = "SDXL"
_T = TypeVar("_T")

AT_ONCE = 100
"""Images appended at once while a bank is filled."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 10_000], help="images in the bank")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each, of which the median is told")
    parser.add_argument("--queues", type=int, default=200, help="queues that save an image, for the growth of memory")
    parser.add_argument("--batch", type=int, default=4, help="images saved by a queue")
    parser.add_argument("--folder", type=Path, help="where the banks are made (default: a temporary folder)")


def run(arguments: argparse.Namespace) -> int:
    """Measure every size, and print a table.

    Raises:
        ValueError: a number is below 1.
    """
    if min(*arguments.sizes, arguments.repeats, arguments.queues, arguments.batch) < 1:
        raise ValueError("Sizes, repeats, queues and the batch must be at least 1.")
    torch.set_num_threads(1)
    rows: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for size in arguments.sizes:
            bank = filled(Path(folder), size)
            for name, value in measured(bank, arguments.repeats, arguments.batch, arguments.queues).items():
                rows.setdefault(name, []).append(value)
            bank.delete()
    columns = ("what", *(f"{size:,} images" for size in arguments.sizes), "ratio")
    lines = [
        (name, *(f"{value:,.1f}" for value in values), f"{values[-1] / values[0]:.2f}" if values[0] > 0 else "")
        for name, values in rows.items()
    ]
    sys.stdout.write(markdown_table(columns, lines) + "\n")
    return 0


def filled(root: Path, size: int) -> MemoryBank:
    """A full bank of so many images, whose next append evicts."""
    bank = MemoryBank(root, f"of {size}", capacity=size)
    for first in range(0, size, AT_ONCE):
        count = min(AT_ONCE, size - first)
        bank.append(images(count, first), latent_format=LATENT_FORMAT, prompts="a cat", seeds=first)
    bank.compact()
    return bank


def images(count: int, seed: int) -> Tensor:
    """White noise (count, 4, 128, 128)."""
    return torch.randn((count, *SHAPE), generator=torch.Generator().manual_seed(seed))


def measured(bank: MemoryBank, repeats: int, batch: int, queues: int) -> dict[str, float]:
    """Processor milliseconds of what a queue does with a bank, and what it adds to memory and disk, in MB."""
    clock, seeds = _Clock(), iter(range(10**6, 10**8))
    snapshot = bank.snapshot()
    for _ in range(repeats):
        # The one before is held, as a host holds it until it has this one.
        snapshot = clock.timed("open (ms)", bank.snapshot)
        clock.timed("has it changed? (ms)", bank.fingerprint)
        clock.timed("read the latents (ms)", lambda opened=snapshot: opened.matching(LATENT_FORMAT, SHAPE))
        guidance = SparseRepellency(RepellencySettings(), [snapshot])
        sigmas = torch.tensor([1.0, 0.6, 0.3, 0.0])
        begun = SamplingRun(batch, SHAPE, sigmas, torch.device("cpu"), LATENT_FORMAT, 0)
        clock.timed("start of a run (ms)", lambda act=guidance, given=begun: act.begin(given))
        estimate = images(batch, next(seeds))
        step = SamplingStep(0.6, 0.3, 0.5, 2 * estimate, estimate)
        clock.timed("first step (ms)", lambda act=guidance, given=step: act(given.conditional, given))
        clock.timed("a step (ms)", lambda act=guidance, given=step: act(given.conditional, given))
        clock.timed("append (ms)", lambda: _append(bank, batch, next(seeds)))
    del snapshot
    before, most = _resident(), 0.0
    for _ in range(queues):
        bank.snapshot()
        _append(bank, batch, next(seeds))
        most = max(most, _resident() - before)
    info = bank.info()
    return {
        **{name: 1e3 * median(times) for name, times in clock.times.items()},
        f"memory gained over {queues} queues (MB)": most / 1e6,
        "images (MB)": info.live_bytes / 1e6,
        f"on disk after {queues} queues (MB)": info.disk_bytes / 1e6,
    }


def _append(bank: MemoryBank, batch: int, seed: int) -> None:
    bank.append(images(batch, seed), latent_format=LATENT_FORMAT, prompts="a cat", seeds=seed)


class _Clock:
    """Processor seconds of each action, by name."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {}

    def timed(self, name: str, action: Callable[[], _T]) -> _T:
        begun = time.process_time()
        result = action()
        self.times.setdefault(name, []).append(time.process_time() - begun)
        return result


def _resident() -> float:
    """Bytes of this process in memory; 0 where the system does not tell."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if status.exists() else 0.0
