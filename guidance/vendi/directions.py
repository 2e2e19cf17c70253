"""The two directions of Vendi Guidance (c-VSG, arXiv 2406.04551) in feature space, and how much each is called for.

The gradient of log VS for one of n items falls as 1/n. Added as they are, the direction from two exemplars therefore
drowns the one from a bank of hundreds. The share that comes with each direction does not depend on n: how far a
picture should move away follows from how alike it is to the most similar one, how far towards the exemplars from how
far away it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from ...kernels.similarity import median_bandwidth, squared_distances
from ...kernels.vendi import (
    log_vendi_gradient,
    log_vendi_gradient_gaussian,
    order_two_force,
    vendi_score,
)
from ...kernels.vendi_bank import BankSpectrum, bank_spectrum, log_vendi_gradient_beside
from .prompts import Prompts
from .settings import VendiSettings

UNRELATED = math.sqrt(2)
"""Distance of two unit features that have nothing in common."""

CLOSEST = 1e-3
"""Distance below which a picture is an exemplar."""

MEDIAN_SAMPLE = 256
"""Pictures of which the median rule is taken."""

MOST_DECOMPOSED = 1024
"""Pictures or features, the fewer of the two, of a bank that is decomposed as a whole: it takes about a second."""


@dataclass(frozen=True)
class Described:
    """Pictures as the score sees them.

    Attributes:
        features: unit rows, (n, d).
        prompts: what they were drawn from; None where that does not count.
    """

    features: Tensor
    prompts: Prompts | None = None

    def __len__(self) -> int:
        return len(self.features)

    @cached_property
    def spectrum(self) -> BankSpectrum:
        """Their features' spectrum, for pictures that stay what they are."""
        return bank_spectrum(self.features)

    def at(self, rows: Tensor) -> Described:
        """Some of them, by index."""
        return Described(self.features[rows], None if self.prompts is None else self.prompts.at(rows))

    def followed_by(self, others: Described) -> Described:
        """These and then others."""
        both = None
        if self.prompts is not None and others.prompts is not None:
            both = self.prompts.followed_by(others.prompts)
        return Described(torch.cat([self.features, others.features]), both)

    def likeness(self, others: Described) -> Tensor:
        """Similarities (n, m) of the prompts, 1 where they do not count."""
        if self.prompts is None or others.prompts is None:
            return self.features.new_ones(len(self), len(others))
        return self.prompts.likeness(others.prompts)


class Direction(NamedTuple):
    """Where the features of a batch should go.

    Attributes:
        gradient: in feature space, shape (B, d), of any length.
        share: how much it is called for, 0 to 1, shape (B,).
        distances: to every picture that was looked at, shape (B, N); infinity for those that do not count.
    """

    gradient: Tensor
    share: Tensor
    distances: Tensor


def away_from(batch: Described, references: Described, settings: VendiSettings) -> Direction:
    """Where the Vendi Score of references and batch together rises.

    Args:
        batch: pictures that move, B of them.
        references: pictures that do not.
        settings: order, kernel, bandwidth, neighbours and whether the batch counts.

    Returns:
        The direction, with distances to the references and then, if the batch counts, to the batch. ``share`` is the
        similarity to the most similar of them.
    """
    if not len(batch) or not (len(references) or settings.in_batch):
        nothing = torch.zeros_like(batch.features)
        return Direction(nothing, nothing.sum(1), nothing[:, :0])
    # Block by block: a bank of ten thousand is never copied.
    blocks = (references, batch) if settings.in_batch else (references,)
    distances = torch.cat([squared_distances(batch.features, block.features) for block in blocks], 1).sqrt()
    similarity = _similarity(distances, _bandwidth(references, batch, settings))
    if batch.prompts is not None:
        likeness = torch.cat([batch.likeness(block) for block in blocks], 1)
        similarity = similarity * likeness
        distances = distances.masked_fill(likeness == 0, math.inf)
    if settings.in_batch:
        own = torch.arange(len(batch), device=distances.device)
        distances[own, len(references) + own] = math.inf
        similarity[own, len(references) + own] = 0
    groups = [torch.arange(len(batch))] if settings.in_batch else list(torch.arange(len(batch)).split(1))
    known = similarity[:, : len(references)]
    gradients = [_group_gradient(batch.at(rows), references, known[rows], settings) for rows in groups]
    return Direction(torch.cat(gradients), similarity.amax(1).clamp(0, 1), distances)


def towards(batch: Described, exemplars: Described, settings: VendiSettings) -> Direction:
    """Where the Vendi Score of the exemplars and one picture falls.

    Prompts do not count. The Gaussian kernel is as wide as it takes to see the nearest exemplar from where a picture
    is: that one is found from any distance and draws most, so that not everything is drawn to the exemplars' middle.

    Args:
        batch: pictures that move.
        exemplars: at least one.
        settings: order and kernel.

    Returns:
        The direction, with distances to the exemplars. ``share`` is the distance to the nearest one, relative to that
        of unrelated features.
    """
    distances = squared_distances(batch.features, exemplars.features).sqrt()
    nearest = distances.amin(1)
    last = torch.tensor([len(exemplars)])
    gradients = []
    for row, distance in zip(batch.features, nearest.tolist(), strict=True):
        joined = Described(torch.cat([exemplars.features, row[None]]))
        width = None if settings.kernel == "cosine" else max(distance, CLOSEST) / math.sqrt(2)
        gradients.append(-_gradient(joined, last, settings, width))
    return Direction(torch.cat(gradients), (nearest / UNRELATED).clamp(max=1), distances)


def _group_gradient(group: Described, references: Described, known: Tensor, settings: VendiSettings) -> Tensor:
    """Gradient for pictures that move together beside references, to which their similarities are known."""
    if settings.order == 2 and settings.balance == "apart":
        condition = None
        if group.prompts is not None:
            condition = torch.cat([group.likeness(group), group.likeness(references)], 1)
        width = _bandwidth(references, group, settings)
        return order_two_force(group.features, references.features, width, condition)
    if settings.balance == "apart" and _can_be_decomposed(references, settings):
        return log_vendi_gradient_beside(references.spectrum, group.features)
    kept = references.at(known.amax(0).topk(min(settings.neighbours, len(references))).indices)
    rows = torch.arange(len(kept), len(kept) + len(group))
    return _gradient(kept.followed_by(group), rows, settings, _bandwidth(kept, group, settings))


def _can_be_decomposed(references: Described, settings: VendiSettings) -> bool:
    """Whether all references can count, by a spectrum taken once a run: neighbours are for other kernels and orders."""
    inner_products = settings.kernel == "cosine" and settings.order == 1 and references.prompts is None
    return inner_products and 0 < min(references.features.shape) <= MOST_DECOMPOSED


def _gradient(items: Described, rows: Tensor, settings: VendiSettings, width: float | None) -> Tensor:
    """Gradient of log VS, or of VS itself where the published balance of the two directions is wanted."""
    condition = None if items.prompts is None else items.likeness(items)
    if width is None:
        gradient = log_vendi_gradient(items.features, settings.order, rows, condition)
    else:
        gradient = log_vendi_gradient_gaussian(items.features, width, settings.order, rows, condition)
    if settings.balance == "apart":
        return gradient
    kernel = _similarity(squared_distances(items.features, items.features).sqrt(), width)
    return gradient * vendi_score(kernel if condition is None else kernel * condition, settings.order)


def _similarity(distances: Tensor, width: float | None) -> Tensor:
    """Similarities of unit features at these distances: Gaussian of a width, or the cosine for None."""
    squares = distances.square()
    return 1 - squares / 2 if width is None else torch.exp(squares / (-2 * width**2))


def _bandwidth(references: Described, batch: Described, settings: VendiSettings) -> float | None:
    """Width of the Gaussian kernel; None for the cosine kernel."""
    if settings.kernel == "cosine":
        return None
    if settings.bandwidth > 0:
        return settings.bandwidth * UNRELATED
    # The median of ten thousand pictures is that of some hundred of them.
    stride = max(1, math.ceil(len(references) / MEDIAN_SAMPLE))
    return median_bandwidth(torch.cat([references.features[::stride], batch.features]))
