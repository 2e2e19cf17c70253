"""The numbers of the demo: diversity always beside quality and fidelity, since spoilt pictures differ too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ..embedded.judge import Coverage, Judge
from ..features.random_network import RandomNetwork
from ..kernels.similarity import cosine_kernel
from ..kernels.vendi import vendi_score
from .comparison import Series


@dataclass(frozen=True)
class Scores:
    """What was measured on one series of pictures.

    Attributes:
        pictures: how many.
        coverage: known modes, fidelity and quality.
        vendi: Vendi Score of order 1 in the space ``vendi_space``.
        vendi_space: tag of the feature space.
        closest_pair: smallest L2 distance between two pictures' latents, raw VAE space.
    """

    pictures: int
    coverage: Coverage
    vendi: float
    vendi_space: str
    closest_pair: float


def measure_series(series: Series, prompt: str, judge: Judge, space: RandomNetwork) -> Scores:
    """Measure every picture of a series together."""
    pictures = series.all_pictures()
    latents = series.all_latents().flatten(1)
    return Scores(
        len(pictures),
        judge.coverage(judge.judge(pictures, prompt), prompt),
        float(vendi_score(cosine_kernel(space(pictures)))),
        space.tag,
        float(torch.pdist(latents).min()) if len(latents) > 1 else 0.0,
    )


def scores_table(scores: Mapping[str, Scores]) -> str:
    """The numbers as text, one line a measure and one column a series."""
    some = next(iter(scores.values()))
    rows = {
        f"known modes reached (of {some.coverage.known})": [str(s.coverage.reached) for s in scores.values()],
        "  of them faithful and within the quality limit": [str(s.coverage.reached_well) for s in scores.values()],
        "Vendi Score (random network)": [f"{s.vendi:.2f}" for s in scores.values()],
        "smallest distance of two pictures (latents)": [f"{s.closest_pair:.2f}" for s in scores.values()],
        "distance to the nearest real picture (RMSE)": [f"{s.coverage.rmse:.3f}" for s in scores.values()],
        "share that shows what the prompt says": [f"{s.coverage.fidelity:.0%}" for s in scores.values()],
        "sharpness (1: as the real picture)": [f"{s.coverage.sharpness:.2f}" for s in scores.values()],
    }
    head = f"{some.pictures} pictures"
    width = max(len(head), *map(len, rows))
    lines = [head.ljust(width) + "".join(name.rjust(12) for name in scores)]
    lines += [name.ljust(width) + "".join(value.rjust(12) for value in values) for name, values in rows.items()]
    return "\n".join(lines)
