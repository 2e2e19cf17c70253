"""``diversity-guidance bench index``: exact protection against Faiss's approximate search, on real sampling runs.

Every reference in a shield must be found in every step. As in arXiv 2410.06025 (table 2) the other side is
``faiss.IndexIVFFlat`` with sqrt(N) cells of which few are searched.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, fields

import torch
from torch import Tensor

from . import index_searches
from .index_runs import CAUGHT, Truth
from .index_searches import BATCH, EXACT, Case, Row


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the benchmark's options."""
    parser.add_argument("--folder", required=True, help="where latents, runs and indexes are kept")
    parser.add_argument("--count", type=int, default=100_000, help="references (default: 100,000)")
    parser.add_argument("--size", type=int, default=64, help="width and height of the pictures (default: 64)")
    parser.add_argument("--runs", type=int, default=16, help="runs of eight pictures each (default: 16)")
    parser.add_argument("--followed", type=int, default=16, help="runs that are followed step by step (default: 16)")
    parser.add_argument("--steps", type=int, default=28, help="evaluations of the model (default: 28)")
    parser.add_argument("--cfg", type=float, default=5.0, help="scale of classifier-free guidance (default: 5)")
    parser.add_argument("--make", action="store_true", help="only make the latents; goes on where it stopped")
    parser.add_argument(
        "--bfloat16", action="store_true", help="make them in bfloat16, quicker on processors that compute in it"
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
        for made in case.references.make(torch.bfloat16 if arguments.bfloat16 else torch.float32):
            sys.stderr.write(f"\r{made:,} of {case.count:,} latents ")
        return 0
    truth = Truth.found(case.drawn(), case.references)
    sys.stdout.write(
        f"{case.count:,} references of {math.prod(case.references.shape):,} values; {min(case.followed, case.runs)} of "
        f"{case.runs} runs of {BATCH} pictures, {case.steps} steps, CFG {case.cfg:g}.\n\n"
        "| search | caught | radius | recall | ms a step | ms a picture | searches | memory MB | disk MB | build s |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
    )
    for search in ("build", EXACT, "faiss"):
        for row in _measured_apart(case, search, truth.radii):
            recall = _recall(row, truth.inside[CAUGHT.index(row.caught)])
            sys.stdout.write(
                f"| {row.search} | {row.caught:.0%} | {row.radius:.3f} | {recall:.4f} | {row.step_ms:.2f} | "
                f"{row.image_ms:.2f} | {row.searches:.1%} | {row.memory / 1e6:,.0f} | {row.disk / 1e6:,.0f} | "
                f"{row.build:.0f} |\n"
            )
            sys.stdout.flush()
    return 0


def _recall(row: Row, inside: Tensor) -> float:
    """Share of the pairs inside that were found; not a number where there are none."""
    found = {(query, reference) for query, reference in row.pairs}
    told = [(query, reference) in found for query, reference in inside.tolist()]
    return sum(told) / len(told) if told else math.nan


def _measured_apart(case: Case, search: str, radii: tuple[float, ...]) -> Iterator[Row]:
    order = json.dumps({"case": asdict(case), "search": search, "radii": radii})
    command = [sys.executable, "-m", index_searches.__name__, order]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield Row(**json.loads(line))
    if process.returncode:
        raise ValueError(f"Measuring the {search} search ended with exit code {process.returncode}.")
