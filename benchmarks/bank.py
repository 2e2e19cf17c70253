"""``diversity-guidance bench bank``: time, memory and disk of a Memory Bank as it grows, without a model.

Times are those of the processor, on one thread. The images have the size of SDXL's. Their latents are made, not
encoded: smooth random fields whose amplitude falls as 1 / frequency, as photographs' does (Field 1987), or white noise,
for which no search is faster than reading all.
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
from ..stores.bank.snapshot import BankSnapshot
from .summary import markdown_table

SHAPE = (4, 128, 128)
LATENT_FORMAT = "SDXL"
_T = TypeVar("_T")

MOVED = 0.1
"""By how much of its length an estimate moves from one step to the next."""

AT_ONCE = 100
"""Images appended at once while a bank is filled."""


def white_noise(count: int, seed: int) -> Tensor:
    """White noise (count, 4, 128, 128)."""
    return torch.randn((count, *SHAPE), generator=torch.Generator().manual_seed(seed))


def smooth_fields(count: int, seed: int) -> Tensor:
    """Gaussian random fields (count, 4, 128, 128) of variance 1 whose amplitude falls as 1 / frequency."""
    rows, columns = (torch.fft.fftfreq(size, 1 / size) for size in SHAPE[1:])
    spectrum = 1 / torch.hypot(rows[:, None], columns).clamp_min(1)
    spectrum /= spectrum.square().mean().sqrt()
    return torch.fft.ifft2(torch.fft.fft2(white_noise(count, seed)) * spectrum).real


KINDS = {"images": smooth_fields, "noise": white_noise}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 10_000], help="images in the bank")
    parser.add_argument("--latents", nargs="+", choices=KINDS, default=list(KINDS), help="like images, or white noise")
    parser.add_argument("--repeats", type=int, default=9, help="measurements of each, of which the median is told")
    parser.add_argument("--queues", type=int, default=200, help="queues for the mean and the growth of memory")
    parser.add_argument("--batch", type=int, default=4, help="images saved by a queue")
    parser.add_argument("--folder", type=Path, help="where the banks are made (default: a temporary folder)")


def run(arguments: argparse.Namespace) -> int:
    """Measure every kind and size, and print a table of each kind.

    Raises:
        ValueError: a number is below 1.
    """
    if min(*arguments.sizes, arguments.repeats, arguments.queues, arguments.batch) < 1:
        raise ValueError("Sizes, repeats, queues and the batch must be at least 1.")
    torch.set_num_threads(1)
    for kind in arguments.latents:
        rows: dict[str, list[float]] = {}
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            for size in arguments.sizes:
                queues = Queues(Path(folder), size, arguments.batch, KINDS[kind])
                for name, value in queues.measured(arguments.repeats, arguments.queues).items():
                    rows.setdefault(name, []).append(value)
                queues.bank.delete()
        columns = (f"latents like {kind}", *(f"{size:,} images" for size in arguments.sizes), "ratio")
        lines = [
            (name, *(f"{value:,.1f}" for value in values), f"{values[-1] / values[0]:.2f}" if values[0] > 0 else "")
            for name, values in rows.items()
        ]
        sys.stdout.write(markdown_table(columns, lines) + "\n")
    return 0


class Queues:
    """Queues that open a bank, steer beside it and save images to it.

    Args:
        root: folder of the bank, which is filled: every append evicts.
        size: images in it.
        batch: images that a queue saves.
        make: latents (count, 4, 128, 128) from a count and a seed.
    """

    def __init__(self, root: Path, size: int, batch: int, make: Callable[[int, int], Tensor]) -> None:
        self.bank, self._batch, self._make = MemoryBank(root, f"of {size}", capacity=size), batch, make
        for first in range(0, size, AT_ONCE):
            self._append(make(min(AT_ONCE, size - first), first), first)
        self.bank.compact()
        self._seeds = iter(range(10**6, 10**8))
        self._held: BankSnapshot | None = None

    def measured(self, repeats: int, queues: int) -> dict[str, float]:
        """Processor milliseconds of what a queue does with a bank, and what it adds to memory and disk, in MB."""
        first, clock = _Clock(), _Clock()
        self.queue(first)
        for _ in range(repeats):
            self.queue(clock)
        before, most, begun = _resident(), 0.0, _Clock()
        for _ in range(queues):
            self.queue(begun, steps=1)
            most = max(most, _resident() - before)
        info = self.bank.info()
        times = {name: 1e3 * median(values) for name, values in clock.times.items()}
        times |= {f"{name} of the first queue": 1e3 * first.times[name][0] for name in ("open", "first step")}
        times[f"a queue with one step, mean of {queues}"] = 1e3 * sum(map(sum, begun.times.values())) / queues
        return {
            **{f"{name} (ms)": value for name, value in times.items()},
            f"memory gained over {queues} queues (MB)": most / 1e6,
            "images (MB)": info.live_bytes / 1e6,
            f"on disk after {queues} queues (MB)": info.disk_bytes / 1e6,
        }

    def queue(self, clock: _Clock, steps: int = 2) -> None:
        """One queue, which holds the snapshot of the one before as a host does until it has its own."""
        clock.timed("has it changed?", self.bank.fingerprint)
        snapshot = self._held = clock.timed("open", self.bank.snapshot)
        clock.timed("read the latents", lambda: snapshot.matching(LATENT_FORMAT, SHAPE))
        guidance = SparseRepellency(RepellencySettings(), [snapshot])
        sigmas = torch.tensor([1.0, 0.6, 0.3, 0.0])
        run = SamplingRun(self._batch, SHAPE, sigmas, torch.device("cpu"), LATENT_FORMAT, 0)
        clock.timed("start of a run", lambda: guidance.begin(run))
        estimate, towards = (self._make(self._batch, next(self._seeds)) for _ in range(2))
        for name in ("first step", "a step")[:steps]:
            step = SamplingStep(0.6, 0.3, 0.5, 2 * estimate, estimate)
            clock.timed(name, lambda given=step: guidance(given.conditional, given))
            estimate = estimate + MOVED * towards
        clock.timed("append", lambda: self._append(estimate, next(self._seeds)))

    def _append(self, latents: Tensor, seed: int) -> None:
        self.bank.append(latents, latent_format=LATENT_FORMAT, prompts="a cat", seeds=seed)


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
