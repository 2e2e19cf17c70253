"""Seeds, means over prompts and seeds, and tables of the benchmarks on the embedded model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from ..embedded.judge import Coverage


@dataclass(frozen=True)
class Summary:
    """Means over prompts and seeds.

    Attributes:
        known: modes that the prompts leave open.
        modes: modes reached by a faithful image within the quality limit.
        modes_spread: standard deviation of the seeds' means of ``modes``; 0 for one seed.
        reached: modes reached at any quality.
        fidelity: share of images that show what the prompt says.
        rmse: distance to the nearest real image of the prompt.
        sharpness: relative to that image.
    """

    known: float
    modes: float
    modes_spread: float
    reached: float
    fidelity: float
    rmse: float
    sharpness: float


def summarised(by_seed: Sequence[Sequence[Coverage]]) -> Summary:
    """Average the coverages of every seed's prompts."""
    every = [coverage for found in by_seed for coverage in found]
    modes = [mean(coverage.reached_well for coverage in found) for found in by_seed]
    return Summary(
        known=mean(coverage.known for coverage in every),
        modes=mean(modes),
        modes_spread=stdev(modes) if len(modes) > 1 else 0.0,
        reached=mean(coverage.reached for coverage in every),
        fidelity=mean(coverage.fidelity for coverage in every),
        rmse=mean(coverage.rmse for coverage in every),
        sharpness=mean(coverage.sharpness for coverage in every),
    )


def first_seeds(count: int) -> list[int]:
    """A number of seeds, spaced so that prompts can have seeds in between."""
    return [100 * (1 + 4 * index) for index in range(count)]


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of texts."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
