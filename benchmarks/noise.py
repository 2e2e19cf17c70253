"""``diversity-guidance bench noise``: known modes that Diverse Noise reaches, alone and with Sparse Repellency.

All rows of a number of steps share prompts, seeds and set sizes, so their differences are paired.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median, stdev
from typing import get_args

import torch
from torch import Tensor

from ..embedded.autoencoder import DOWNSCALE, LATENT_CHANNELS
from ..embedded.judge import Coverage, Judge
from ..embedded.model import EmbeddedModel
from ..embedded.reals import TILE
from ..guidance.noise import Mode, NoiseDesign
from ..guidance.repellency.guidance import RepellencySettings, SparseRepellency
from ..kernels.low_frequency import coefficients, cosine_basis
from .modes import PROMPTS, WINDOW

SHAPE = (LATENT_CHANNELS, TILE // DOWNSCALE, TILE // DOWNSCALE)
SDXL = (4, 128, 128)
TIMED_DRAWS = 20
FREQUENCIES = 3
"""Lowest frequencies of every channel that quantised noise designs by default in latents of 16 channels."""

MODES: tuple[Mode, ...] = ("independent", "simplex", "quantised")
assert set(MODES) == set(get_args(Mode))


@dataclass(frozen=True)
class Outcome:
    """Means over prompts and seeds.

    Attributes:
        noise: how the initial noise was sampled.
        repelled: whether Sparse Repellency steered, at its defaults.
        steps: evaluations of the model.
        cfg: scale of classifier-free guidance.
        modes: modes reached by a faithful image within the quality limit.
        gain: of `modes` over independent noise, the rest being equal.
        error: standard error of `gain`, paired by prompt and seed.
        fidelity: share of images that show what the prompt says.
        rmse: distance to the nearest real image of the prompt.
        agreement: correlation of the lowest frequencies of initial noise and image within a set.
    """

    noise: Mode
    repelled: bool
    steps: int
    cfg: float
    modes: float
    gain: float
    error: float
    fidelity: float
    rmse: float
    agreement: float


@dataclass(frozen=True)
class SetResult:
    """Coverage of one set of images, and how far its compositions follow its noise."""

    coverage: Coverage
    agreement: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--count", type=int, default=16, help="images a prompt and seed, one set (default: 16)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds (default: 3)")
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 8, 28], help="evaluations (default: 4 8 28)")
    parser.add_argument("--cfg", type=float, default=5.0, help="classifier-free guidance, 1 for none (default: 5)")
    parser.add_argument("--away", action="store_true", help="only measure the gain of keeping away from images")
    parser.add_argument("--output", type=Path, help="also write the results to this JSON file")


def run(arguments: argparse.Namespace) -> int:
    """Time the sampling, measure every row and print the table as it grows."""
    for mode in MODES:
        _say(f"{mode}: 16 noises for SDXL (4 x 128 x 128) in {1000 * drawing_seconds(mode):.1f} ms, the median")
    model, judge = EmbeddedModel.load(), Judge.load()
    seeds = range(1, arguments.seeds + 1)
    outcomes: list[Outcome] = []
    if arguments.away:
        for steps in arguments.steps:
            _say(staying_away(model, seeds, arguments.count, steps, arguments.cfg))
        return 0
    _say("| noise | repellency | steps | CFG | modes | gain | fidelity | RMSE | agreement |\n" + "| --- " * 9 + "|")
    for steps in arguments.steps:
        for repelled in (False, True):
            plain: Sequence[SetResult] = ()
            for mode in MODES:
                found = measure(model, judge, mode, repelled, seeds, arguments.count, steps, arguments.cfg)
                plain = plain or found
                outcomes.append(summary(found, plain, mode, repelled, steps, arguments.cfg))
                _say(_as_markdown(outcomes[-1]))
                if arguments.output is not None:
                    record = json.dumps([asdict(outcome) for outcome in outcomes], indent=1)
                    arguments.output.write_text(record, encoding="utf-8")
    return 0


def drawing_seconds(mode: Mode) -> float:
    """Median time in which sixteen noises of SDXL's size are sampled."""
    durations = []
    for seed in range(TIMED_DRAWS):
        start = time.perf_counter()
        NoiseDesign(seed, mode).sample(range(16), SDXL)
        durations.append(time.perf_counter() - start)
    return median(durations)


def measure(
    model: EmbeddedModel,
    judge: Judge,
    mode: Mode,
    repelled: bool,
    seeds: Sequence[int],
    count: int,
    steps: int,
    cfg: float,
) -> list[SetResult]:
    """One set of ``count`` images for every seed and prompt."""
    found = []
    for seed in seeds:
        for number, prompt in enumerate(PROMPTS):
            set_seed = 1000 * seed + number
            noise = NoiseDesign(set_seed, mode, count).sample(range(count), SHAPE)
            guidance = SparseRepellency(RepellencySettings(interval=WINDOW)) if repelled else None
            latents = model.sample([prompt] * count, set_seed, steps=steps, cfg=cfg, guidance=guidance, noise=noise)
            coverage = judge.coverage(judge.judge(model.decode(latents), prompt), prompt)
            found.append(SetResult(coverage, _agreement(noise, latents)))
    return found


def summary(
    found: Sequence[SetResult], plain: Sequence[SetResult], mode: Mode, repelled: bool, steps: int, cfg: float
) -> Outcome:
    """Means of a row, and its gain over the row of independent noise."""
    gains = [new.coverage.reached_well - old.coverage.reached_well for new, old in zip(found, plain, strict=True)]
    return Outcome(
        noise=mode,
        repelled=repelled,
        steps=steps,
        cfg=cfg,
        modes=mean(sampled.coverage.reached_well for sampled in found),
        gain=mean(gains),
        error=stdev(gains) / len(gains) ** 0.5,
        fidelity=mean(sampled.coverage.fidelity for sampled in found),
        rmse=mean(sampled.coverage.rmse for sampled in found),
        agreement=mean(sampled.agreement for sampled in found),
    )


def staying_away(model: EmbeddedModel, seeds: Sequence[int], count: int, steps: int, cfg: float) -> str:
    """How much farther new images lie from earlier ones if their noise keeps away from these."""
    changes = []
    for seed in seeds:
        for number, prompt in enumerate(PROMPTS):
            set_seed = 1000 * seed + number
            prompts = [prompt] * count
            first = NoiseDesign(set_seed, "independent").sample(range(count), SHAPE)
            earlier = model.sample(prompts, 0, steps=steps, cfg=cfg, noise=first)
            nearest = []
            for avoid in (None, earlier):
                noise = NoiseDesign(set_seed + 500, "quantised", count, avoid=avoid).sample(range(count), SHAPE)
                latents = model.sample(prompts, 0, steps=steps, cfg=cfg, noise=noise)
                nearest.append(float(torch.cdist(latents.flatten(1), earlier.flatten(1)).amin(1).mean()))
            changes.append(nearest[1] / nearest[0] - 1)
    error = stdev(changes) / len(changes) ** 0.5
    return f"{steps} steps, CFG {cfg:g}: distance to the nearest earlier image {mean(changes):+.1%} ± {error:.1%}"


def _agreement(noise: Tensor, latents: Tensor) -> float:
    basis = cosine_basis(SHAPE[1:], FREQUENCIES)
    first, second = (coefficients(items, basis).flatten(1) for items in (noise, latents))
    standard = [(rows - rows.mean(0)) / rows.std(0, correction=0) for rows in (first, second)]
    return float((standard[0] * standard[1]).mean())


def _as_markdown(outcome: Outcome) -> str:
    gain = f"{outcome.gain:+.2f} ± {outcome.error:.2f}" if outcome.noise != MODES[0] else ""
    return (
        f"| {outcome.noise} | {'yes' if outcome.repelled else 'no'} | {outcome.steps} | {outcome.cfg:g} | "
        f"{outcome.modes:.2f} | {gain} | {outcome.fidelity:.3f} | {outcome.rmse:.4f} | {outcome.agreement:+.2f} |"
    )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
