"""``diversity-guidance bench modes``: known modes reached on the embedded model, with quality and fidelity beside them.

Every row samples the same prompts from the same seeds. A row that reaches more modes by spoiling images shows it in the
other columns. Plain sampling at lower classifier-free guidance is among the rows: a method has to beat that curve.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor

from ..embedded.judge import Coverage, Judge
from ..embedded.latent_space import LATENT_FORMAT
from ..embedded.model import EmbeddedModel
from ..embedded.schedule import sigma_at_percent
from ..features.random_network import RandomNetwork
from ..guidance.limits import NormClip, SigmaInterval
from ..guidance.references import ImageReferences
from ..guidance.repellency.guidance import RECOMMENDED_END, RepellencySettings, SparseRepellency
from ..kernels.similarity import cosine_kernel
from ..kernels.vendi import vendi_score
from .summary import (
    Summary,
    first_seeds,
    markdown_table,
    summarised,
)

PROMPTS = (
    "man running",
    "doctor",
    "mage woman",
    "wave",
    "google astronaut",
    "twitter man police officer",
    "santa",
    "woman biking",
)
"""Prompts with 6 to 36 known modes."""

WINDOW = SigmaInterval(low=sigma_at_percent(RECOMMENDED_END))


@dataclass(frozen=True)
class Row:
    """One way of sampling.

    Attributes:
        name: of the row.
        cfg: scale of classifier-free guidance.
        settings: of Sparse Repellency; None for none.
    """

    name: str
    cfg: float
    settings: RepellencySettings | None = None


PUBLISHED = RepellencySettings(
    radius=0.2, strength=1.0, cfg_easing=0.0, measure="guided", norm_clip=NormClip(math.inf, math.inf)
)

"""arXiv 2410.06025: distances on the guided estimate, the sum of pushes, every step, no norm clip."""

ROWS = (
    Row("none", 5.0),
    Row("default", 5.0, RepellencySettings(interval=WINDOW)),
    Row("none", 2.0),
    Row("none", 1.0),
    Row("as published", 5.0, PUBLISHED),
    Row("as published, radius 0.3, ending early", 5.0, replace(PUBLISHED, radius=0.3, interval=WINDOW)),
    Row("conditional estimate, no CFG easing", 5.0, RepellencySettings(cfg_easing=0.0, interval=WINDOW)),
    Row("radius 0.15", 1.0, RepellencySettings(radius=0.15, interval=WINDOW)),
    Row("default", 1.0, RepellencySettings(interval=WINDOW)),
)

QUEUE_ROWS = (
    Row("none", 5.0),
    *(
        Row(f"radius {radius:g}", 5.0, RepellencySettings(radius=radius, interval=WINDOW))
        for radius in (0.2, 0.3, 0.4, 0.5)
    ),
)
"""For images sampled one by one beside a bank that is empty at first."""

Sample = Callable[[EmbeddedModel, Row, str, int, int, int], Tensor]
"""Samples images of a row for (prompt, seed, count, steps): raw latents."""


def in_one_batch(model: EmbeddedModel, row: Row, prompt: str, seed: int, count: int, steps: int) -> Tensor:
    """All images in one batch, kept away from one another."""
    guidance = None if row.settings is None else SparseRepellency(row.settings)
    return model.sample([prompt] * count, seed, steps=steps, cfg=row.cfg, guidance=guidance)


def one_by_one(model: EmbeddedModel, row: Row, prompt: str, seed: int, count: int, steps: int) -> Tensor:
    """One image at a time, each from its own seed and kept away from all before: a queue with a Memory Bank."""
    latents: list[Tensor] = []
    for number in range(count):
        guidance = None
        if row.settings is not None:
            bank = [ImageReferences(torch.cat(latents), LATENT_FORMAT)] if latents else []
            guidance = SparseRepellency(row.settings, bank)
        latents.append(model.sample([prompt], 1000 * seed + number, steps=steps, cfg=row.cfg, guidance=guidance))
    return torch.cat(latents)


@dataclass(frozen=True)
class Result:
    """What a row reaches.

    Attributes:
        summary: modes, fidelity and quality.
        vendi: Vendi Score of a prompt's images, order 1, random network, averaged likewise.
    """

    summary: Summary
    vendi: float


def measure_row(
    row: Row,
    sample: Sample,
    model: EmbeddedModel,
    judge: Judge,
    seeds: Sequence[int],
    count: int,
    steps: int,
    tick: Callable[[], None],
    prompts: Sequence[str] = PROMPTS,
) -> Result:
    """Sample ``count`` images of every prompt from every seed, and average."""
    space = RandomNetwork()
    found: list[list[Coverage]] = []
    scores: list[float] = []
    for seed in seeds:
        found.append([])
        for number, prompt in enumerate(prompts):
            images = model.decode(sample(model, row, prompt, seed + number, count, steps))
            found[-1].append(judge.coverage(judge.judge(images, prompt), prompt))
            scores.append(vendi_score(cosine_kernel(space(images))))
            tick()
    return Result(summarised(found), mean(scores))


def as_markdown(results: Sequence[tuple[Row, Result]]) -> str:
    """The results as a table."""
    known = results[0][1].summary.known
    columns = ("guidance", "CFG", f"modes of {known:.1f}", "of any quality", "fidelity", "RMSE", "sharpness", "Vendi")
    return markdown_table(columns, (_line(row, result.summary, result.vendi) for row, result in results))


def _line(row: Row, summary: Summary, vendi: float) -> tuple[str, ...]:
    return (
        row.name,
        f"{row.cfg:g}",
        f"{summary.modes:.2f} ± {summary.modes_spread:.2f}",
        f"{summary.reached:.2f}",
        f"{summary.fidelity:.3f}",
        f"{summary.rmse:.4f}",
        f"{summary.sharpness:.2f}",
        f"{vendi:.2f}",
    )


def add_size_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of every benchmark that counts modes by rows."""
    parser.add_argument("--count", type=int, default=16, help="images a prompt and seed (default: 16)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds (default: 3)")
    parser.add_argument("--steps", type=int, default=24, help="evaluations of the model (default: 24)")
    parser.add_argument("--output", type=Path, help="also write the results to this JSON file")
    parser.add_argument("--rows", nargs="+", metavar="TEXT", help="only rows whose name has one of these in it")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    add_size_arguments(parser)
    parser.add_argument(
        "--one-by-one", action="store_true", help="sample one image at a time beside a Memory Bank that grows"
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure every row and print the table as it grows."""
    rows, sample = (QUEUE_ROWS, one_by_one) if arguments.one_by_one else (ROWS, in_one_batch)
    return run_rows([(row, sample) for row in rows], arguments)


def run_rows(rows: Sequence[tuple[Row, Sample]], arguments: argparse.Namespace) -> int:
    """Measure rows, each sampled in its own way, and print the table as it grows.

    Raises:
        ValueError: no row has a name that was asked for.
    """
    rows = wanted_rows(rows, arguments.rows)
    model, judge = EmbeddedModel.load(), Judge.load()
    seeds = first_seeds(arguments.seeds)
    results: list[tuple[Row, Result]] = []
    for row, sample in rows:
        done = 0

        def tick(row: Row = row) -> None:
            nonlocal done
            done += 1
            sys.stderr.write(f"\r{row.name}, CFG {row.cfg:g}: set {done} of {len(seeds) * len(PROMPTS)} ")

        measured = measure_row(row, sample, model, judge, seeds, arguments.count, arguments.steps, tick)
        results.append((row, measured))
        sys.stderr.write("\n" + as_markdown(results[-1:]).splitlines()[-1] + "\n")
    sys.stdout.write(as_markdown(results) + "\n")
    if arguments.output is not None:
        record = [
            {"name": row.name, "cfg": row.cfg, **vars(result.summary), "vendi": result.vendi} for row, result in results
        ]
        arguments.output.write_text(json.dumps(record, indent=1), encoding="utf-8")
    return 0


def wanted_rows(rows: Sequence[tuple[Row, Sample]], texts: Sequence[str] | None) -> list[tuple[Row, Sample]]:
    """The rows whose name contains one of some texts, in either case; all without texts.

    Raises:
        ValueError: there is none.
    """
    found = [
        (row, sample)
        for row, sample in rows
        if texts is None or any(text.lower() in row.name.lower() for text in texts)
    ]
    if not found:
        names = "; ".join(dict.fromkeys(row.name for row, _ in rows))
        raise ValueError(f"No row's name has {' or '.join(texts or [])} in it. There are: {names}.")
    return found
