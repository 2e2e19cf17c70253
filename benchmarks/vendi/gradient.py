"""``diversity-guidance bench vendi-gradient``: log VS's gradient in closed form against autograd through ``eigvalsh``.

Eight rows move beside a constant bank. Every method runs in its own process, which gives its peak memory. Times are
processor seconds on one thread, the smallest of several repeats.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from ...kernels.similarity import unit_rows
from ...kernels.vendi import log_vendi_gradient
from ...kernels.vendi_bank import bank_spectrum, log_vendi_gradient_beside
from ..peak_memory import forget_peak, peak_bytes

SIZES = ((180, 512), (1000, 512), (1000, 16_384))
"""Rows, moving ones included, and features."""

MOVING = 8
MIN_SECONDS = 1.0
"""Time for which a call is repeated."""

Gradient = Callable[[], Tensor]


@dataclass(frozen=True)
class Cost:
    """Time and memory of one method.

    Attributes:
        once: processor seconds at the start of a run.
        seconds: processor seconds of a call.
        kept_bytes: memory held between calls, beside the bank.
        extra_bytes: peak memory of a call beyond that.
        norm: of the gradient, which shows that the methods agree.
    """

    once: float
    seconds: float
    kept_bytes: int
    extra_bytes: int
    norm: float


def unit_features(count: int, size: int, seed: int) -> Tensor:
    """Unit features (count, size) in float32 with a mean cosine of about one half, as image features have."""
    generator = torch.Generator().manual_seed(seed)
    return unit_rows(torch.randn(count, size, generator=generator) + torch.randn(1, size, generator=generator))


def autograd_gradient(bank: Tensor, moving: Tensor) -> Tensor:
    """Gradient of log VS at the moving rows by differentiating eigenvalues, float64."""
    rows = moving.double().requires_grad_()
    joined = torch.cat([bank.double(), rows])
    spectrum = torch.linalg.eigvalsh(joined @ joined.T / len(joined)).clamp_min(1e-12)
    (gradient,) = torch.autograd.grad(-(spectrum * spectrum.log()).sum(), rows)
    return gradient


def by_autograd(bank: Tensor, moving: Tensor) -> Gradient:
    """The gradient by autograd."""
    return lambda: autograd_gradient(bank, moving)


def by_rows(bank: Tensor, moving: Tensor) -> Gradient:
    """The closed form from all rows."""
    last = torch.arange(len(bank), len(bank) + len(moving))
    return lambda: log_vendi_gradient(torch.cat([bank, moving]), rows=last)


def beside_bank(bank: Tensor, moving: Tensor) -> Gradient:
    """The closed form beside a bank that is decomposed once."""
    spectrum = bank_spectrum(bank)
    return lambda: log_vendi_gradient_beside(spectrum, moving)


METHODS: dict[str, Callable[[Tensor, Tensor], Gradient]] = {
    "autograd through eigvalsh": by_autograd,
    "closed form, all rows": by_rows,
    "closed form beside a decomposed bank": beside_bank,
}


def measure(method: str, count: int, size: int) -> Cost:
    """Measure one method in this process, which must be fresh."""
    torch.set_num_threads(1)
    bank, moving = unit_features(count - MOVING, size, 0), unit_features(MOVING, size, 1)
    # Exclude what the libraries allocate once.
    METHODS[method](unit_features(2 * MOVING, 64, 2), unit_features(MOVING, 64, 3))()
    held, start = forget_peak(), time.process_time()
    gradient = METHODS[method](bank, moving)
    once = time.process_time() - start
    ready = forget_peak()
    norm = float(gradient().double().norm())
    extra = peak_bytes() - ready
    seconds, spent = float("inf"), 0.0
    while spent < MIN_SECONDS:
        start = time.process_time()
        gradient()
        took = time.process_time() - start
        seconds, spent = min(seconds, took), spent + took
    return Cost(once, seconds, ready - held, extra, norm)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The benchmark has no options."""


def run(arguments: argparse.Namespace) -> int:
    """Measure every method at every size and write a table."""
    sys.stdout.write(
        "| rows | features | gradient | start of a run (s) | a call (s) | autograd takes | kept (MB) "
        "| a call's extra memory (MB) | autograd needs | norm |\n"
        "| ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
    )
    for count, size in SIZES:
        costs = {method: _measured_apart(method, count, size) for method in METHODS}
        reference = costs["autograd through eigvalsh"]
        for method, cost in costs.items():
            memory = reference.extra_bytes / max(cost.extra_bytes, 1)
            sys.stdout.write(
                f"| {count:,} | {size:,} | {method} | {cost.once:.3f} | {cost.seconds:.5f} "
                f"| {reference.seconds / cost.seconds:.1f} x | {cost.kept_bytes / 1e6:.1f} "
                f"| {cost.extra_bytes / 1e6:.1f} | {memory:.1f} x | {cost.norm:.9f} |\n"
            )
            sys.stdout.flush()
    return 0


def _measured_apart(method: str, count: int, size: int) -> Cost:
    """Times of one process, and memory of another."""
    # The second returns freed blocks to the system at once, as reused ones would go uncounted; that takes time.
    eager = {"MALLOC_MMAP_THRESHOLD_": "16384", "MALLOC_TRIM_THRESHOLD_": "16384"}
    timed, weighed = (_in_process(method, count, size, {**os.environ, **more}) for more in ({}, eager))
    return replace(timed, kept_bytes=weighed.kept_bytes, extra_bytes=weighed.extra_bytes)


def _in_process(method: str, count: int, size: int, environment: dict[str, str]) -> Cost:
    command = [sys.executable, "-m", __name__, json.dumps([method, count, size])]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return Cost(**json.loads(result.stdout))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(measure(*json.loads(sys.argv[1])))))
