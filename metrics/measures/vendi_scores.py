"""Effective number of images: Vendi Scores (2210.02410, 2310.12952, 2410.21719) with their uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ...kernels.vendi import vendi_score
from .measure import Measure

ORDERS = (0.5, 1.0, 2.0, math.inf)
"""Small orders count rare images fully, infinity only the commonest."""

TRUNCATION = 8
"""Eigenvalues of the truncated Vendi Score. It settles with a multiple of as many images; no score exceeds it."""

TRUNCATED, EQUAL = "vendi_1_truncated", "vendi_1_equal"
"""Names of the truncated score, and of the score among equally many images."""

# Random choices of equally many images; one is enough of so many that the choice hardly matters.
_CHOICES, _MANY = 16, 512
# Below this the truncated score's bias is told in words.
_FEW = 16 * TRUNCATION
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
        score depends on the choice of images, not on their number. The last measure is the truncated score of order 1,
        with the jackknife's estimate of its finite-sample bias.
    """
    count = len(features)
    if not count:
        names = [*map(vendi_name, orders), TRUNCATED]
        return [Measure(name, None, space, 0, note="There are no images.") for name in names]
    gram = small_gram(features)
    size, dimension = len(gram), features.shape[1]
    note = "One image is one image: its score is always 1." if count == 1 else ""
    if count > dimension:
        note = f"Features of {dimension} numbers cannot tell more than {dimension} images apart."
    parts: list[Tensor] = []
    if count >= _MIN_FOR_INTERVAL and size <= _JACKKNIFE_SIZE:
        parts = [_gram_without(features, gram, part) for part in _parts(count)]
    interval = "95 % jackknife interval" if parts else ""
    measures = []
    for name, order, truncation in [
        *((vendi_name(order), order, None) for order in orders),
        (TRUNCATED, 1, TRUNCATION),
    ]:
        value = vendi_score(gram, order, truncation=truncation)
        lower = upper = None
        parameters, told = {"order": float(order)}, note
        if truncation is not None:
            parameters["truncation"] = float(truncation)
        if parts:
            without = [vendi_score(part, order, truncation=truncation) for part in parts]
            error = jackknife_error(without)
            lower, upper = max(1.0, value - 1.96 * error), min(float(truncation or size), value + 1.96 * error)
            if truncation is not None and count > truncation:
                parameters["bias"] = bias = jackknife_bias(value, without)
                if count < _FEW:
                    told = f"With so few images about {abs(bias):.2g} too {'low' if bias < 0 else 'high'} (jackknife)."
        measures.append(
            Measure(
                name,
                value,
                space,
                count,
                lower=lower,
                upper=upper,
                interval=interval,
                parameters=parameters,
                note=told,
            )
        )
    return measures


def equal_vendi(features: Tensor, size: int) -> float:
    """Vendi Score of order 1 among ``size`` images: the mean of random choices of so many, with seed 0.

    Scores grow with the number of images. Sets of different sizes compare by the score among as many images as the
    smallest of them has (rarefaction).

    Args:
        features: (n, d) unit rows.
        size: 1 to n.
    """
    if size == len(features):
        return vendi_score(small_gram(features))
    generator = torch.Generator().manual_seed(0)
    choices = 1 if size > _MANY else _CHOICES
    rows = (torch.randperm(len(features), generator=generator)[:size] for _ in range(choices))
    return sum(vendi_score(small_gram(features[chosen])) for chosen in rows) / choices


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


def jackknife_bias(value: float, estimates: Sequence[float]) -> float:
    """Bias of an estimate by those without each part (Quenouille 1956)."""
    return (len(estimates) - 1) * (sum(estimates) / len(estimates) - value)


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
