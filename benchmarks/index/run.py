"""``diversity-guidance bench index``: exact protection against Faiss's approximate search, on real sampling runs.

Every reference in a shield must be found in every step. The baseline, as in arXiv 2410.06025 (table 2), is
``faiss.IndexIVFFlat`` with sqrt(N) cells of which few are searched.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from dataclasses import asdict, fields, replace

import torch
from torch import Tensor

from . import searches as index_searches
from .runs import CAUGHT, Truth
from .searches import (
    BATCH,
    EXACT,
    Case,
    Row,
)

PASSES = 5
"""Passes of each search; the fastest counts, as other work on the machine only makes it slower."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the benchmark's options."""
    parser.add_argument("--folder", required=True, help="of latents, runs and indexes")
    parser.add_argument("--count", type=int, default=100_000, help="references (default: 100,000)")
    parser.add_argument("--size", type=int, default=64, help="width and height of the images (default: 64)")
    parser.add_argument("--runs", type=int, default=16, help="runs of eight images each (default: 16)")
    parser.add_argument("--followed", type=int, default=16, help="runs that are followed step by step (default: 16)")
    parser.add_argument("--steps", type=int, default=28, help="evaluations of the model (default: 28)")
    parser.add_argument("--cfg", type=float, default=5.0, help="scale of classifier-free guidance (default: 5)")
    parser.add_argument("--make", action="store_true", help="only make the latents; a stopped run resumes")
    parser.add_argument(
        "--encoded", type=int, default=0, help="images to encode; other latents are made from theirs (default: all)"
    )
    parser.add_argument(
        "--bfloat16", action="store_true", help="make them in bfloat16, faster on processors that compute in it"
    )


def run(arguments: argparse.Namespace) -> int:
    """Make the latents, or measure and write a table.

    Raises:
        ValueError: a number is below 1, or latents are missing.
    """
    if min(arguments.count, arguments.size, arguments.runs, arguments.followed, arguments.steps) < 1:
        raise ValueError("Count, size, runs, followed runs and steps must be at least 1.")
    torch.set_num_threads(1)
    case = Case(**{field.name: getattr(arguments, field.name) for field in fields(Case)})
    if arguments.make:
        references = replace(case.references, encoded=max(0, arguments.encoded))
        for made in references.make(torch.bfloat16 if arguments.bfloat16 else torch.float32):
            sys.stderr.write(f"\r{made:,} of {case.count:,} latents ")
        return 0
    truth = Truth.found(case.sampled_runs(), case.references)
    sys.stdout.write(
        f"{case.count:,} references of {math.prod(case.references.shape):,} values; {min(case.followed, case.runs)} of "
        f"{case.runs} runs of {BATCH} images, {case.steps} steps, CFG {case.cfg:g}.\n\n"
        "| search | caught | radius | recall | ms a step | ms an image | searches | memory MB | disk MB | build s |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
    )
    with _Apart(case, "build", truth.radii) as building:
        building.rows()
    with _Apart(case, EXACT, truth.radii) as exact, _Apart(case, "faiss", truth.radii) as faiss:
        rows = [(process, number, row) for process in (exact, faiss) for number, row in enumerate(process.rows())]
        # In turns, so that other work on the machine slows all of them.
        times = [[process.seconds(number) for process, number, _ in rows] for _ in range(PASSES)]
    evaluations = min(case.followed, case.runs) * case.steps
    for (_, _, row), seconds in zip(rows, zip(*times, strict=True), strict=True):
        recall, step = _recall(row, truth.inside[CAUGHT.index(row.caught)]), 1e3 * min(seconds) / evaluations
        sys.stdout.write(
            f"| {row.search} | {row.caught:.0%} | {row.radius:.3f} | {recall:.4f} | {step:.2f} | "
            f"{step * case.steps / BATCH:.2f} | {row.searches:.1%} | {row.memory / 1e6:,.0f} | {row.disk / 1e6:,.0f} | "
            f"{row.build:.0f} |\n"
        )
    return 0


def _recall(row: Row, inside: Tensor) -> float:
    """Fraction of the pairs inside that were found; NaN without any."""
    found = {(query, reference) for query, reference in row.pairs}
    hits = [(query, reference) in found for query, reference in inside.tolist()]
    return sum(hits) / len(hits) if hits else math.nan


class _Apart:
    """A process for the searches of one index."""

    def __init__(self, case: Case, search: str, radii: tuple[float, ...]) -> None:
        order = json.dumps({"case": asdict(case), "search": search, "radii": radii})
        command = [sys.executable, "-m", index_searches.__name__, order]
        self._search = search
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> _Apart:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def rows(self) -> list[Row]:
        """The rows of all searches; waits until the index is built and each search has run once."""
        rows = []
        while (line := self._read()).strip():
            rows.append(Row(**json.loads(line)))
        return rows

    def seconds(self, number: int) -> float:
        """Run one pass of a search."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{number}\n")
        self._process.stdin.flush()
        return float(self._read())

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line and self._process.wait():
            raise ValueError(f"Measuring the {self._search} search ended with exit code {self._process.returncode}.")
        return line
