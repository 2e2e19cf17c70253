"""Effective number of images: Vendi Scores (2210.02410, 2310.12952) of features, with their uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ...kernels.vendi import vendi_score
from .measure import Measure

ORDERS = (0.5, 1.0, 2.0, math.inf)
"""Small orders count rare images fully, infinity only the commonest."""

# Rows converted to float64 at once.
_CHUNK = 8192
# Number of parts left out in turn; and the largest matrix for which that is done.
_JACKKNIFE_PARTS = 16
_JACKKNIFE_SIZE = 512
_MIN_FOR_INTERVAL = 4


def vendi_name(order: float) -> str:
    """Name of the measure of an order: ``vendi_0.5``, ``vendi_1``, ``vendi_inf``."""
    return f"vendi_{order:g}"


def vendi_measures(features: Tensor, space: str, orders: Sequence[float] = ORDERS) -> list[Measure]:
    """Vendi Scores under the cosine kernel, in bounded memory.

    Args:
        features: (n, d) unit rows.
        space: tag of the feature space.
        orders: of the scores.

    Returns:
        One measure for each order, between 1 and the smaller of n and d. The jackknife interval shows how much the
        score depends on the choice of images, not on their number.
    """
    count = len(features)
    if not count:
        return [Measure(vendi_name(order), None, space, 0, note="There are no images.") for order in orders]
    gram = small_gram(features)
    size, dimension = len(gram), features.shape[1]
    note = "One image is one image: its score is always 1." if count == 1 else ""
    if count > dimension:
        note = f"Features of {dimension} numbers cannot tell more than {dimension} images apart."
    parts: list[Tensor] = []
    if count >= _MIN_FOR_INTERVAL and size <= _JACKKNIFE_SIZE:
        parts = [_gram_without(features, gram, part) for part in _parts(count)]
    measures = []
    for order in orders:
        value = vendi_score(gram, order)
        lower = upper = None
        if parts:
            error = jackknife_error([vendi_score(part, order) for part in parts])
            lower, upper = max(1.0, value - 1.96 * error), min(float(size), value + 1.96 * error)
        measures.append(
            Measure(
                vendi_name(order),
                value,
                space,
                count,
                lower=lower,
                upper=upper,
                interval="95 % jackknife interval" if parts else "",
                parameters={"order": order},
                note=note,
            )
        )
    return measures


def small_gram(features: Tensor) -> Tensor:
    """The smaller of the Gram matrices X X^T and X^T X, in float64; both have the same non-zero spectrum.

    Args:
        features: (n, d) rows, converted a few thousand at a time.
    """
    count, dimension = features.shape
    if count <= dimension:
        rows = features.to(torch.float64)
        return rows @ rows.T
    gram = torch.zeros(dimension, dimension, dtype=torch.float64)
    for rows in features.split(_CHUNK):
        rows = rows.to(torch.float64)
        gram.addmm_(rows.T, rows)
    return gram


def spectrum(features: Tensor) -> Tensor:
    """Eigenvalues of the kernel divided by n, largest first, float64; they are shares and sum to 1.

    Args:
        features: (n, d) unit rows, n at least 1.
    """
    gram = small_gram(features)
    shares = torch.linalg.eigvalsh(gram / gram.trace()).flip(0).clamp_min(0)
    return shares / shares.sum()


def jackknife_error(estimates: Sequence[float]) -> float:
    """Jackknife standard error from the estimates without each part (Quenouille, Tukey)."""
    values = torch.tensor(estimates, dtype=torch.float64)
    return math.sqrt((len(values) - 1) * float(values.var(correction=0)))


def _parts(count: int) -> list[Tensor]:
    """Indices of the parts left out in turn, at random so that the order of the images does not matter."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return list(order.tensor_split(min(count, _JACKKNIFE_PARTS)))


def _gram_without(features: Tensor, gram: Tensor, part: Tensor) -> Tensor:
    if len(gram) == len(features):
        kept = torch.ones(len(features), dtype=torch.bool)
        kept[part] = False
        return gram[kept][:, kept]
    rows = features[part].to(torch.float64)
    return gram - rows.T @ rows
