"""``diversity-guidance bench repellency``: the kernel against the published formulation and one read of the bank.

Every row is measured in its own process, which gives its peak memory. Times are medians of processor seconds on one
thread; evaluations and reads of the bank take turns in the same process.
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

from ..guidance.references import MIN_BOUNDED, MIN_VALUES, References
from ..guidance.repellency.guidance import RepellencySettings
from ..guidance.repellency.shields import Radii, Shields
from ..kernels.shields.distance_bounds import DistanceBounds
from ..kernels.shields.field import squared_norms
from ..kernels.shields.reference_blocks import read_chunks
from .peak_memory import peak_bytes

BATCH = 8
SPARSE_RADIUS = RepellencySettings().radius
"""As a fraction of the typical distance: the default of the guidance."""

DENSE_RADIUS = 1.1
"""Every reference pushes every estimate."""

DIRECTIONS = 24
"""Number of directions along which latents with a layout differ most, as in large bright and dark areas."""

STORED = {"float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True)
class Case:
    """One measurement.

    Attributes:
        references: size of the bank.
        dimensions: values in a latent.
        stored: dtype of the bank.
        method: one of ``METHODS``.
        layout: fraction of the variance along directions that all latents share; 0 gives white noise.
    """

    references: int
    dimensions: int
    stored: str
    method: str
    layout: float

    @property
    def published_bytes(self) -> int:
        """Memory of the published formulation: the differences, their weighted copy, and the bank in float32."""
        copy = self.references * self.dimensions * 4 if self.stored != "float32" else 0
        return 2 * BATCH * self.references * self.dimensions * 4 + copy


@dataclass(frozen=True)
class Cost:
    """Time and memory of one evaluation.

    Attributes:
        seconds: of one evaluation.
        read_seconds: of one read of the bank.
        extra_bytes: peak memory beyond bank and estimates.
    """

    seconds: float
    read_seconds: float
    extra_bytes: int


def read_bank(points: Tensor, bank: References) -> Tensor:
    """The floor: convert every stored value to float32 once, chunk by chunk, and add it up."""
    total = points.new_zeros(())
    for _, chunk in read_chunks(bank.blocks, points):
        total += chunk.sum()
    return total


def published(points: Tensor, bank: References) -> Tensor:
    """Equation 5 as published: all differences at once, a tensor of batch x references x latent."""
    differences = points[:, None] - bank.blocks[0].to(points.dtype)
    distances = differences.norm(dim=2, keepdim=True)
    return ((_radius(points, SPARSE_RADIUS) / distances - 1).relu() * differences).sum(1)


def kernel(points: Tensor, bank: References, fraction: float) -> Tensor:
    """Equation 5 as in a sampling step: bounds exclude most references of a large bank."""
    radii = Radii(points.new_full((len(points),), _radius(points, fraction)), None)
    return Shields(points, radii, bank).push()


METHODS: dict[str, Callable[[Tensor, References], Tensor]] = {
    "one read": read_bank,
    # One contact for every estimate.
    "sparse contacts": partial(kernel, fraction=SPARSE_RADIUS),
    # Every reference pushes every estimate.
    "dense contacts": partial(kernel, fraction=DENSE_RADIUS),
    "published": published,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the benchmark's options."""
    parser.add_argument("--references", type=int, nargs="+", default=[1_000, 10_000], help="sizes of the bank")
    parser.add_argument("--dimensions", type=int, nargs="+", default=[16_384, 65_536], help="values in a latent")
    parser.add_argument("--repeats", type=int, default=5, help="evaluations per median")
    parser.add_argument(
        "--layout",
        type=float,
        default=0.5,
        metavar="FRACTION",
        help="of the variance along few directions; 0: white noise",
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure every combination and write a table.

    Raises:
        ValueError: a number is below 1, or the layout is not in 0..1.
    """
    if min(*arguments.references, *arguments.dimensions, arguments.repeats) < 1:
        raise ValueError("References, dimensions and repeats must be at least 1.")
    if not 0 <= arguments.layout <= 1:
        raise ValueError("The layout must be between 0 and 1.")
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
    """Measure one case in this process, which must be fresh."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(DIRECTIONS, case.dimensions, generator=generator) / math.sqrt(DIRECTIONS)

    def sampled(count: int) -> Tensor:
        common = torch.randn(count, DIRECTIONS, generator=generator) @ directions
        own = torch.randn(count, case.dimensions, generator=generator)
        return math.sqrt(case.layout) * common + math.sqrt(1 - case.layout) * own

    points = sampled(BATCH)
    latents = torch.empty(case.references, case.dimensions, dtype=STORED[case.stored])
    for row in latents:
        row.copy_(sampled(1)[0])
    for row in range(min(BATCH, case.references)):
        latents[row * case.references // BATCH] = points[row] + 0.1 * torch.randn(case.dimensions, generator=generator)
    bank = prepared(latents, points)
    method = METHODS[case.method]
    # Exclude what the libraries allocate once.
    method(points, prepared(latents[:2], points))
    before = peak_bytes()
    method(points, bank)
    extra = peak_bytes() - before
    seconds = [(_seconds(read_bank, points, bank), _seconds(method, points, bank)) for _ in range(repeats)]
    reads, evaluations = zip(*seconds, strict=True)
    return Cost(median(evaluations), median(reads), extra)


def prepared(latents: Tensor, points: Tensor) -> References:
    """The bank of these latents, prepared in parts, so that freed memory does not hide what a method needs."""
    bounds = None
    if len(latents) >= MIN_BOUNDED and latents.shape[1] >= MIN_VALUES:
        bounds = DistanceBounds.fit(latents[:MIN_BOUNDED], points)
        for part in latents[MIN_BOUNDED:].split(MIN_BOUNDED):
            bounds = bounds.concat(part, points, None, None)
        norms = bounds.norms
    else:
        norms = torch.cat([squared_norms(row[None], points) for row in latents])
    return References((latents,), [str(row) for row in range(len(latents))], _same, norms, 0.0, None, bounds)


def _same(chunk: Tensor) -> Tensor:
    return chunk


def _cases(arguments: argparse.Namespace) -> Iterator[Case]:
    for dimensions in arguments.dimensions:
        for references in arguments.references:
            for stored in STORED:
                for method in METHODS:
                    yield Case(references, dimensions, stored, method, arguments.layout)


def _measured_apart(case: Case, repeats: int) -> Cost:
    order = json.dumps({"case": asdict(case), "repeats": repeats})
    result = subprocess.run([sys.executable, "-m", __name__, order], stdout=subprocess.PIPE, text=True, check=True)
    return Cost(**json.loads(result.stdout))


def _radius(points: Tensor, fraction: float) -> float:
    """A fraction of the distance between two unrelated points, whose values have unit variance."""
    return fraction * math.sqrt(2 * points.shape[1])


def _seconds(method: Callable[[Tensor, References], Tensor], points: Tensor, bank: References) -> float:
    start = time.process_time()
    method(points, bank)
    return time.process_time() - start


def _free_bytes() -> int:
    """Free memory, without what caches could give back."""
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    wanted = json.loads(sys.argv[1])
    sys.stdout.write(json.dumps(asdict(measure(Case(**wanted["case"]), wanted["repeats"]))))
