"""How scores grow with the number of images of one and the same source."""

from __future__ import annotations

from statistics import mean

import torch
from torch import Tensor

from ...kernels.similarity import cosine_kernel
from ...kernels.vendi import vendi_score
from ...metrics.measures.vendi_scores import TRUNCATED, TRUNCATION

SIZES = (8, 16, 32, 64, 256, 1024)
SCORES = ("vendi_1", "vendi_2", TRUNCATED, "mean_distance")

_SMALL = 64


def growth(features: Tensor, repeats: int = 200) -> dict[int, dict[str, float]]:
    """Mean scores of random choices of ever more images.

    Args:
        features: (N, d) unit rows of the source.
        repeats: choices of every size up to 64 images; of larger ones, which vary less, a tenth of these.
    """
    found = {}
    generator = torch.Generator().manual_seed(0)
    for size in (size for size in SIZES if size <= len(features)):
        choices = repeats if size <= _SMALL else max(1, repeats // 10)
        scores = [_scores(features[torch.randperm(len(features), generator=generator)[:size]]) for _ in range(choices)]
        found[size] = {name: mean(each[name] for each in scores) for name in SCORES}
    return found


def _scores(rows: Tensor) -> dict[str, float]:
    kernel = cosine_kernel(rows)
    distances = (2 - 2 * kernel).clamp_min(0).sqrt().fill_diagonal_(0)
    return {
        "vendi_1": vendi_score(kernel),
        "vendi_2": vendi_score(kernel, 2),
        TRUNCATED: vendi_score(kernel, truncation=TRUNCATION),
        "mean_distance": float(distances.sum()) / (len(rows) * (len(rows) - 1)),
    }
