"""``diversity-guidance bench pareto``: modes against fidelity and cost, for our methods and others.

No default was tuned on the prompts. Every row samples the same prompts from the same seeds. Measured rows are read from
the output file, so that a stopped run resumes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, pstdev

from torch import Tensor

from ...embedded.judge import Coverage, Judge
from ...embedded.transformer import to_model_space
from ...guidance.references import References
from ...guidance.repellency.shields import Radii, Shields
from ...guidance.repellency.target import clear_distance, counted
from ...stores.files import write_whole
from ..prompts import HELD_OUT, read_prompts
from ..summary import summarised
from .plot import plot
from .points import Point, as_markdown, read_points
from .rows import Row, Setting, rows

FIRST_SEED = 7100
"""Seeds of the tuned defaults begin at 100."""

ALWAYS = ("none", "recommended")
QUICK_PROMPTS, QUICK_COUNT = 4, 8


def add_sampling_arguments(parser: argparse.ArgumentParser, prompts: Path, rows: Sequence[str] | None = None) -> None:
    """Options of the sampling, with the default prompts and rows of a benchmark."""
    parser.add_argument("--model", choices=("base", "turbo"), default="turbo", help="which embedded model")
    parser.add_argument("--prompts", type=Path, default=prompts, help="a file with a prompt a line")
    parser.add_argument(
        "--rows", nargs="+", metavar="TEXT", default=rows, help="only rows whose name has one of these in it"
    )
    parser.add_argument("--seeds", type=int, default=3, help="seeds a prompt (default: 3)")
    parser.add_argument("--count", type=int, default=16, help="images a prompt and seed (default: 16)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    add_sampling_arguments(parser, HELD_OUT)
    parser.add_argument("--steps", type=int, help="evaluations of the model (default: the model's own)")
    parser.add_argument("--cfg", type=float, help="scale of CFG (default: the model's own)")
    parser.add_argument("--output", type=Path, help="write the results to this JSON file, and resume from it")
    parser.add_argument("--plot", type=Path, help="also draw modes against fidelity and cost into this PNG file")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_PROMPTS} prompts, one seed, {QUICK_COUNT} images")


def run(arguments: argparse.Namespace) -> int:
    """Measure the rows and print the table.

    Raises:
        ValueError: there is no such file of prompts, a prompt that no real image matches, no row of that name, or an
            output file of another benchmark.
    """
    seeds, count, prompts = arguments.seeds, arguments.count, read_prompts(arguments.prompts)
    if arguments.quick:
        seeds, count, prompts = 1, min(count, QUICK_COUNT), prompts[:QUICK_PROMPTS]
    if seeds < 1 or count < 1:
        raise ValueError("Give at least one seed and one image.")
    setting = Setting.load(arguments.model == "turbo", arguments.steps, arguments.cfg)
    steps, cfg = setting.steps, setting.cfg
    chosen = wanted(rows(distilled=cfg == 1), arguments.rows)
    judge = Judge.load()
    for prompt in prompts:
        judge.reals.matching(prompt)
    points = read_points(arguments.output)
    for row in chosen:
        scale = row.cfg or cfg
        key = (row.name, arguments.model, scale, steps, seeds * count * len(prompts))
        if any((point.name, point.model, point.cfg, point.steps, point.images) == key for point in points):
            continue
        points.append(measure(row, arguments.model, setting, judge, prompts, seeds, count))
        sys.stderr.write(as_markdown(points[-1:]).splitlines()[-1] + "\n")
        if arguments.output is not None:
            write_whole(arguments.output, json.dumps([vars(point) for point in points], indent=1).encode())
    sys.stdout.write(as_markdown(points) + "\n")
    if arguments.plot is not None:
        plot(points).save(arguments.plot)
    return 0


def measure(
    row: Row, name: str, setting: Setting, judge: Judge, prompts: Sequence[str], seeds: int, count: int
) -> Point:
    """Sample ``count`` images of every prompt from every seed, and average."""
    setting = Setting(setting.model, setting.base, setting.steps, row.cfg or setting.cfg)
    by_seed: list[list[Coverage]] = []
    different: list[int] = []
    seconds = 0.0
    for number in range(seeds):
        by_seed.append([])
        for place, prompt in enumerate(prompts):
            start = time.process_time()
            latents = row.sample(setting, prompt, FIRST_SEED + 400 * number + place, count)
            seconds += time.process_time() - start
            different.append(count_different(to_model_space(latents)))
            verdicts = judge.judge(setting.model.decode(latents), prompt)
            by_seed[-1].append(judge.coverage(verdicts, prompt))
    found = summarised(by_seed)
    images = seeds * count * len(prompts)
    error = found.modes_spread / seeds**0.5
    return Point(
        row.name,
        name,
        setting.cfg,
        setting.steps,
        found.modes,
        error,
        found.known,
        found.fidelity,
        found.rmse,
        found.sharpness,
        seconds / images,
        images,
        mean(different),
        pstdev(different),
        mean(found >= row.target for found in different) if row.target else 0.0,
    )


def count_different(latents: Tensor) -> int:
    """How many of a batch of final latents (B, C, ...) in the model's space are clearly different."""
    radii = Radii.for_batch(clear_distance(latents, 1.0, False), len(latents), None, relative=True, in_batch=True)
    nothing = References((), (), lambda chunk: chunk, latents.new_empty(0), 0.0)
    return int(counted(Shields.around(latents, radii, nothing)).sum())


def wanted(found: Sequence[Row], texts: Sequence[str] | None) -> list[Row]:
    """Rows whose name contains one of some texts, in either case, and those of ``ALWAYS``.

    Raises:
        ValueError: there is none.
    """
    if texts is None:
        return list(found)
    kept = [row for row in found if any(text.lower() in row.name.lower() for text in texts)]
    if not kept:
        raise ValueError(f"No row's name has {' or '.join(texts)} in it: {'; '.join(row.name for row in found)}.")
    return [row for row in found if row.name in ALWAYS or row in kept]
