"""The demo's scores: diversity beside quality and fidelity, since spoiled images differ from one another too."""

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
    """Measurements of one series.

    Attributes:
        images: how many.
        coverage: known modes, fidelity and quality; None without a judge.
        vendi: Vendi Score of order 1 in the space ``vendi_space``.
        vendi_space: tag of the feature space.
        closest_pair: smallest L2 distance between two images' latents, raw VAE space.
    """

    images: int
    coverage: Coverage | None
    vendi: float
    vendi_space: str
    closest_pair: float


def measure_series(series: Series, prompt: str, judge: Judge | None, space: RandomNetwork) -> Scores:
    """Measure all images of a series together."""
    images = series.all_images()
    latents = series.all_latents().flatten(1)
    return Scores(
        len(images),
        None if judge is None else judge.coverage(judge.judge(images, prompt), prompt),
        float(vendi_score(cosine_kernel(space(images)))),
        space.tag,
        float(torch.pdist(latents).min()) if len(latents) > 1 else 0.0,
    )


def scores_table(scores: Mapping[str, Scores]) -> str:
    """The scores as text, a line per measure and a column per series."""
    some = next(iter(scores.values()))
    judged = [score.coverage for score in scores.values() if score.coverage is not None]
    rows = {
        "Vendi Score (random network)": [f"{score.vendi:.2f}" for score in scores.values()],
        "smallest distance between two images (latents)": [f"{score.closest_pair:.2f}" for score in scores.values()],
    }
    if judged:
        rows = {
            f"known modes reached (of {judged[0].known})": [str(coverage.reached) for coverage in judged],
            "  of them faithful and within the quality limit": [str(coverage.reached_well) for coverage in judged],
            **rows,
            "distance to the nearest real image (RMSE)": [f"{coverage.rmse:.3f}" for coverage in judged],
            "share that shows what the prompt says": [f"{coverage.fidelity:.0%}" for coverage in judged],
            "sharpness (1: as the real image)": [f"{coverage.sharpness:.2f}" for coverage in judged],
        }
    head = f"{some.images} images"
    width = max(len(head), *map(len, rows))
    lines = [head.ljust(width) + "".join(name.rjust(12) for name in scores)]
    lines += [name.ljust(width) + "".join(value.rjust(12) for value in values) for name, values in rows.items()]
    return "\n".join(lines)
