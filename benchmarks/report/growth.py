"""How scores grow with the number of images of one and the same source."""

from __future__ import annotations

from statistics import mean

import torch
from torch import Tensor

from ...metrics.measures.measure import named
from ...metrics.measures.vendi_scores import TRUNCATED
from ...metrics.report import measure

SIZES = (8, 16, 32, 64, 256, 1024)
SCORES = ("vendi_1", "vendi_2", TRUNCATED, "mean_distance")


def growth(features: Tensor, repeats: int = 8) -> dict[int, dict[str, float]]:
    """Mean scores of random choices of ever more images, and at last of all.

    Args:
        features: (N, d) unit rows of the source.
        repeats: choices of every size.
    """
    found = {}
    generator = torch.Generator().manual_seed(0)
    for size in (*(size for size in SIZES if size < len(features)), len(features)):
        choices = 1 if size == len(features) else repeats
        rows = [torch.randperm(len(features), generator=generator)[:size] for _ in range(choices)]
        reports = [measure(features[chosen], "bench", duplicate_distance=0) for chosen in rows]
        found[size] = {name: mean(named(report.measures, name).value or 0.0 for report in reports) for name in SCORES}
    return found
