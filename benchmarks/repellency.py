"""``diversity-guidance bench repellency``: the kernel against the published formulation and one read of the bank.

Every row is measured in a process of its own, so that its peak memory is its own. Times are processor seconds on one
thread, medians; the read that a time is compared with is repeated in turn with it, in the same process.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median

import torch
from torch import Tensor

from ..guidance.repellency.guidance import RepellencySettings
from ..kernels.shields.field import shield_field, squared_norms
from ..kernels.shields.prefix_norms import Leading, leading_columns, sparse_field
from ..kernels.shields.reference_blocks import read_chunks
from .peak_memory import peak_bytes

BATCH = 8
SPARSE_RADIUS = RepellencySettings().radius
"""As a fraction of the typical distance: the default of the guidance."""

DENSE_RADIUS = 1.1
"""Every reference pushes every estimate."""

STORED = {"float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes:
        references: size of the bank.
        dimensions: values in a latent.
        stored: dtype of the bank.
        method: one of ``METHODS``.
    """

    references: int
    dimensions: int
    stored: str
    method: str

    @property
    def published_bytes(self) -> int:
        """Memory of the published formulation: the differences, their weighted copy, and the bank in float32."""
        copy = self.references * self.dimensions * 4 if self.stored != "float32" else 0
        return 2 * BATCH * self.references * self.dimensions * 4 + copy


@dataclass(frozen=True)
class Cost:
    """What it took.

    Attributes:
        seconds: of one evaluation.
        read_seconds: of one read of the bank.
        extra_bytes: peak memory beyond bank and estimates.
    """

    seconds: float
    read_seconds: float
    extra_bytes: int


@dataclass(frozen=True)
class Bank:
    """A bank, and what the guidance keeps of it during a run.

    Attributes:
        latents: shape (N, D).
        norms: their squared norms, shape (N,).
        leading: their first columns' squared norms; None where rows are too short.
    """

    latents: Tensor
    norms: Tensor
    leading: Leading | None


def read_bank(points: Tensor, bank: Bank) -> Tensor:
    """The floor: every stored value becomes a float32 once, by way of one chunk of memory, and is added up."""
    total = points.new_zeros(())
    for _, chunk in read_chunks(bank.latents, points):
        total += chunk.sum()
    return total


def published(points: Tensor, bank: Bank) -> Tensor:
    """Equation 5 as it is printed: all differences at once, a tensor of batch x references x latent."""
    differences = points[:, None] - bank.latents.to(points.dtype)
    distances = differences.norm(dim=2, keepdim=True)
    return ((_radius(points, SPARSE_RADIUS) / distances - 1).relu() * differences).sum(1)


def kernel(points: Tensor, bank: Bank, share: float) -> Tensor:
    """The kernel as the guidance calls it: references are ruled out by their first columns where rows are long."""
    radius = _radius(points, share)
    if bank.leading is None:
        return shield_field(points, bank.latents, radius, norms=bank.norms).delta
    return sparse_field(points, bank.latents, radius, bank.leading, norms=bank.norms).delta


METHODS: dict[str, Callable[[Tensor, Bank], Tensor]] = {
    "one read": read_bank,
    # One contact for every estimate.
    "sparse contacts": partial(kernel, share=SPARSE_RADIUS),
    # Every reference pushes every estimate.
    "dense contacts": partial(kernel, share=DENSE_RADIUS),
    "published": published,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the benchmark's options."""
    parser.add_argument("--references", type=int, nargs="+", default=[1_000, 10_000], help="sizes of the bank")
    parser.add_argument("--dimensions", type=int, nargs="+", default=[16_384, 65_536], help="values in a latent")
    parser.add_argument("--repeats", type=int, default=5, help="evaluations of which the median is told")


def run(arguments: argparse.Namespace) -> int:
    """Measure every combination and write a table.

    Raises:
        ValueError: a number is below 1.
    """
    if min(*arguments.references, *arguments.dimensions, arguments.repeats) < 1:
        raise ValueError("References, dimensions and repeats must be at least 1.")
    sys.stdout.write(
        f"Batch of {BATCH}. Extra memory is the peak beyond bank and estimates.\n\n"
        "| references | dimensions | stored | method | seconds | x one read | extra MB |\n"
        "| ---: | ---: | --- | --- | ---: | ---: | ---: |\n"
    )
    for case in _cases(arguments):
        sys.stdout.write(f"| {case.references:,} | {case.dimensions:,} | {case.stored} | {case.method} | ")
        if case.method == "published" and case.published_bytes > _free_bytes():
            sys.stdout.write(f"does not fit | | needs {case.published_bytes / 1e6:,.0f} |\n")
            continue
        cost = _measured_apart(case, arguments.repeats)
        ratio = cost.seconds / cost.read_seconds
        sys.stdout.write(f"{cost.seconds:.4f} | {ratio:.2f} | {cost.extra_bytes / 1e6:,.0f} |\n")
        sys.stdout.flush()
    return 0


def measure(case: Case, repeats: int) -> Cost:
    """Measure one case in this process, which should have done nothing else."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(BATCH, case.dimensions, generator=generator)
    latents = torch.empty(case.references, case.dimensions, dtype=STORED[case.stored])
    for row in latents:
        row.copy_(torch.randn(case.dimensions, generator=generator))
    for row in range(min(BATCH, case.references)):
        latents[row * case.references // BATCH] = points[row] + 0.1 * torch.randn(case.dimensions, generator=generator)
    bank = prepared(latents, points)
    method = METHODS[case.method]
    # What the libraries keep for themselves is not the method's.
    method(points, prepared(latents[:2], points))
    before = peak_bytes()
    method(points, bank)
    extra = peak_bytes() - before
    seconds = [(_seconds(read_bank, points, bank), _seconds(method, points, bank)) for _ in range(repeats)]
    reads, evaluations = zip(*seconds, strict=True)
    return Cost(median(evaluations), median(reads), extra)


def prepared(latents: Tensor, points: Tensor) -> Bank:
    """The bank of these latents, prepared a row at a time: memory once used would hide what the method needs."""
    norms = torch.cat([squared_norms(row[None], points) for row in latents])
    leading = leading_columns(latents[:1], points)
    if leading is not None:
        rest = [squared_norms(row[None], points, columns=leading.columns) for row in latents[1:]]
        leading = Leading(leading.columns, torch.cat([leading.norms, *rest]))
    return Bank(latents, norms, leading)


def _cases(arguments: argparse.Namespace) -> Iterator[Case]:
    for dimensions in arguments.dimensions:
        for references in arguments.references:
            for stored in STORED:
                for method in METHODS:
                    yield Case(references, dimensions, stored, method)


def _measured_apart(case: Case, repeats: int) -> Cost:
    order = json.dumps({"case": asdict(case), "repeats": repeats})
    result = subprocess.run([sys.executable, "-m", __name__, order], stdout=subprocess.PIPE, text=True, check=True)
    return Cost(**json.loads(result.stdout))


def _radius(points: Tensor, share: float) -> float:
    """A share of the distance between two unrelated points, whose values have unit variance."""
    return share * math.sqrt(2 * points.shape[1])


def _seconds(method: Callable[[Tensor, Bank], Tensor], points: Tensor, bank: Bank) -> float:
    start = time.process_time()
    method(points, bank)
    return time.process_time() - start


def _free_bytes() -> int:
    """Memory that nobody uses, by the least favourable count: what caches hold is left to them."""
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    wanted = json.loads(sys.argv[1])
    sys.stdout.write(json.dumps(asdict(measure(Case(**wanted["case"]), wanted["repeats"]))))
