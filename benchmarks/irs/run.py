"""``diversity-guidance bench irs``: the Image Retrieval Score of models of known diversity (arXiv 2411.16171).

Prints the scores of several metrics for models that have learned a known fraction of their training set; ``--scale``
adds one measurement at the size of ImageNet.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, get_args

import torch
from torch import Tensor

from ...kernels.frechet import frechet_distance
from ...kernels.manifold import prdc
from ...kernels.retrieval import rejection_threshold
from ...metrics.figures.canvas import (
    FAINT,
    NODE_WIDTH,
    PALETTE,
    chart,
    rendered,
)
from ...metrics.measures.early_rejection import EarlyRejection
from ...metrics.measures.neighbours import ReferenceIndex
from ...metrics.measures.retrieval import AdjustedScore, adjusted_score, measure_retrieval
from .approximate import ApproximateIndex
from .toy import (
    TRAIN_SIZE,
    Loss,
    Toy,
    balanced_half,
)

IMAGENET = 1_281_166
IMAGENET_DRAWS = 50_000
SHARES = (1.0, 0.8, 0.6, 0.4, 0.2, 0.1)
NEIGHBOURS = (1, 5)

_DRAWS = 2400
_FEATURES = 64


class Row(NamedTuple):
    """The metrics of one model.

    Attributes:
        loss: kind of the lost modes.
        truth: fraction of the modes that the model has learned.
        score: IRS_infinity,a.
        frechet: Fréchet distance to the training set.
        recall: at 1 and at 5 neighbours.
        coverage: at 1 and at 5 neighbours.
    """

    loss: Loss
    truth: float
    score: AdjustedScore
    frechet: float
    recall: tuple[float, ...]
    coverage: tuple[float, ...]


def score_of(
    references: Tensor, generated: Tensor, real: Tensor, kind: type[ReferenceIndex] = ReferenceIndex
) -> AdjustedScore:
    """IRS_infinity,a of generated features, adjusted by as many held-out real ones."""
    index = kind(references)
    scores = [measure_retrieval(index.nearest(queries), len(references)) for queries in (generated, real)]
    return adjusted_score(*scores)


def toy_rows(shares: Sequence[float] = SHARES) -> Iterator[Row]:
    """Measure models that have learned fewer and fewer modes."""
    toy = Toy.create()
    everything = torch.arange(TRAIN_SIZE)
    real = toy.sample(_DRAWS, everything, seed=1)
    for loss in get_args(Loss):
        for share in shares:
            learned = toy.learned(share, loss)
            generated = toy.sample(_DRAWS, learned, seed=2)
            manifolds = [prdc(toy.modes, generated, neighbours) for neighbours in NEIGHBOURS]
            yield Row(
                loss,
                len(learned) / TRAIN_SIZE,
                score_of(toy.modes, generated, real),
                frechet_distance(generated, toy.modes),
                tuple(scores.recall for scores in manifolds),
                tuple(scores.coverage for scores in manifolds),
            )


class SampleRow(NamedTuple):
    """The metrics of one model after a number of samples.

    Attributes:
        truth: fraction of the modes that the model has learned.
        draws: number of samples.
        score: IRS_infinity,a.
        recall: at one neighbour, as density and coverage.
        density: of the samples.
        coverage: of the training images.
    """

    truth: float
    draws: int
    score: AdjustedScore
    recall: float
    density: float
    coverage: float


def sample_rows(shares: Sequence[float] = (1.0, 0.5), draws: Sequence[int] = (200, 800, 2400)) -> Iterator[SampleRow]:
    """Measure the same models with more and more samples, at one neighbour."""
    toy = Toy.create()
    for share in shares:
        learned = toy.learned(share, "intra-class")
        for count in draws:
            generated, real = toy.sample(count, learned, seed=2), toy.sample(count, torch.arange(TRAIN_SIZE), seed=1)
            scores = prdc(toy.modes, generated, 1)
            yield SampleRow(
                len(learned) / TRAIN_SIZE,
                count,
                score_of(toy.modes, generated, real),
                scores.recall,
                scores.density,
                scores.coverage,
            )


def rejection_sentence(learned: int = 100, planned: int = 60, seed: int = 3) -> str:
    """Reject a model that has learned only some of 800 images, while it is still being sampled."""
    toy = Toy.create()
    modes = torch.arange(0, TRAIN_SIZE, TRAIN_SIZE // learned)
    test = EarlyRejection(TRAIN_SIZE, planned, looks=[planned])
    samples = toy.sample(planned, modes, seed)
    rejection = test.update(ReferenceIndex(toy.modes).nearest(samples))
    return f"A model of {learned} of {TRAIN_SIZE} images: {rejection or 'not rejected.'}"


def balanced_sentence(draws: int = 20_000) -> str:
    """A model that misses half of the modes and has the moments of the whole."""
    corners, half = balanced_half()
    noise = 0.05
    generator = torch.Generator().manual_seed(4)

    def draw(modes: Tensor) -> Tensor:
        chosen = modes[torch.randint(len(modes), (draws,), generator=generator)]
        return corners[chosen] + noise * torch.randn(draws, corners.shape[1], generator=generator)

    real, generated = draw(torch.arange(len(corners))), draw(half)
    score = score_of(corners, generated, real)
    return (
        f"A model that misses half of {len(corners)} modes and keeps mean and covariance: Fréchet distance "
        f"{frechet_distance(generated, corners):.5f}, that of real samples {frechet_distance(real, corners):.5f}; "
        f"IRS_inf,a {score.value:.3f} ({score.lower:.3f} to {score.upper:.3f})."
    )


def imagenet_sentence() -> str:
    """k_min of the supplement: 80 % of ImageNet after 50,000 samples."""
    threshold = rejection_threshold(round(0.8 * IMAGENET), IMAGENET_DRAWS)
    return (
        f"k_min of ImageNet ({IMAGENET:,} images) at 80 % and {IMAGENET_DRAWS:,} samples: {threshold} "
        f"(published: 48744), that is {IMAGENET_DRAWS - threshold} repetitions."
    )


def scale_sentences() -> Iterator[str]:
    """Time and error of an adjusted score at the size of ImageNet, from given features."""
    generator = torch.Generator().manual_seed(5)
    centres = torch.randn(1000, _FEATURES, generator=generator)

    def draw(count: int, classes: int) -> Tensor:
        chosen = centres[torch.randint(classes, (count,), generator=generator)]
        return (chosen + torch.randn(count, _FEATURES, generator=generator)) / 2**0.5

    references = draw(IMAGENET, 1000)
    generated, real = draw(IMAGENET_DRAWS, 800), draw(IMAGENET_DRAWS, 1000)
    score, seconds = _timed(lambda: score_of(references, generated, real, ApproximateIndex))
    yield (
        f"IRS_inf,a of {IMAGENET_DRAWS:,} samples on {IMAGENET:,} x {_FEATURES} features, approximate retrieval: "
        f"{seconds:.1f} processor seconds on {torch.get_num_threads()} threads (goal: 40 s on two cores); "
        f"{score.value:.3f} ({score.lower:.3f} to {score.upper:.3f}), 0.8 of the classes learned."
    )
    some = generated[:2000]
    exact = ReferenceIndex(references).nearest(some)
    share = (ApproximateIndex(references).nearest(some) == exact).float().mean()
    yield f"Approximate retrieval finds the nearest reference of {share:.1%} of {len(some):,} samples."


def as_markdown(rows: Sequence[Row]) -> str:
    """The toy's results as a table."""
    lines = [
        "| modes lost | learned | IRS_inf,a | Fréchet | recall k=1 | recall k=5 | coverage k=1 | coverage k=5 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        score = f"{row.score.value:.3f} ({row.score.lower:.3f} to {row.score.upper:.3f})"
        others = " | ".join(f"{value:.3f}" for value in (row.frechet, *row.recall, *row.coverage))
        lines.append(f"| {row.loss} | {row.truth:.3f} | {score} | {others} |")
    return "\n".join(lines)


def samples_as_markdown(rows: Sequence[SampleRow]) -> str:
    """The samples' influence as a table."""
    lines = ["| learned | samples | IRS_inf,a | recall k=1 | density k=1 | coverage k=1 |", "|---|---|---|---|---|---|"]
    for row in rows:
        score = f"{row.score.value:.3f} ({row.score.lower:.3f} to {row.score.upper:.3f})"
        others = f"{row.recall:.3f} | {row.density:.3f} | {row.coverage:.3f}"
        lines.append(f"| {row.truth:.3f} | {row.draws} | {score} | {others} |")
    return "\n".join(lines)


def draw_figure(rows: Sequence[Row], path: Path, width: int = 2 * NODE_WIDTH) -> None:
    """Plot every metric against the truth."""
    named: dict[str, Callable[[Row], float]] = {
        "IRS_inf,a": lambda row: row.score.value,
        "recall, k=1": lambda row: row.recall[0],
        "recall, k=5": lambda row: row.recall[1],
        "coverage, k=5": lambda row: row.coverage[1],
    }
    figure, panels = chart(width, 1.2, rows=2)
    for panel, loss in zip(panels, get_args(Loss), strict=True):
        found = [row for row in rows if row.loss == loss]
        truth = [row.truth for row in found]
        panel.plot([0, 1], [0, 1], "--", color=FAINT, label="truth")
        for place, (name, value) in reversed(list(enumerate(named.items()))):
            marker = "os^v"[place]
            panel.plot(truth, [value(row) for row in found], color=PALETTE[place], marker=marker, label=name)
        panel.set_title(f"modes lost {loss}", fontsize=10)
        panel.set_ylabel("score", fontsize=9)
    panels[-1].set_xlabel("share of the modes that the model has learned", fontsize=9)
    panels[-1].legend(fontsize=8.5, frameon=False)
    rendered(figure).save(path)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--figure", type=Path, help="also draw the toy's results to this PNG file")
    parser.add_argument("--scale", action="store_true", help="also measure time at the size of ImageNet (1.2 GB)")


def run(arguments: argparse.Namespace) -> int:
    """Print the results one by one."""
    rows = []
    for row in toy_rows():
        rows.append(row)
        sys.stderr.write(as_markdown([row]).splitlines()[-1] + "\n")
    sys.stdout.write(as_markdown(rows) + "\n\n" + samples_as_markdown(list(sample_rows())) + "\n\n")
    if arguments.figure is not None:
        draw_figure(rows, arguments.figure)
    for sentence in (rejection_sentence(), balanced_sentence(), imagenet_sentence()):
        sys.stdout.write(sentence + "\n")
    if arguments.scale:
        for sentence in scale_sentences():
            sys.stdout.write(sentence + "\n")
    return 0


def _timed(function: Callable[[], AdjustedScore]) -> tuple[AdjustedScore, float]:
    """The result, and its processor seconds."""
    started = time.process_time()
    return function(), time.process_time() - started
