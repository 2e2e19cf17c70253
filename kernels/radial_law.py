"""Lengths of standard Gaussian vectors, drawn as a set: each exactly chi distributed, together evenly spread."""

from __future__ import annotations

import torch
from scipy.special import gammaincinv
from torch import Tensor


def stratified_lengths(count: int, dimension: int, generator: torch.Generator) -> Tensor:
    """Lengths of ``count`` vectors from N(0, I) of this dimension, one from each of as many equally likely ranges.

    Which one gets which range is random, so that every single length has the law of an independent draw.

    Args:
        count: of vectors, J.
        dimension: of each.
        generator: a CPU generator.

    Returns:
        (J,) lengths, float64.
    """
    ranges = torch.randperm(count, generator=generator).double()
    inside = torch.rand(count, generator=generator, dtype=torch.float64)
    return torch.from_numpy(2 * gammaincinv(dimension / 2, ((ranges + inside) / count).numpy())).sqrt()
