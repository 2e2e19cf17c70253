"""The two directions of Vendi Guidance (c-VSG, arXiv 2406.04551) in feature space, and how much each is called for.

The gradient of log VS for one of n items falls as 1/n. Added as they are, the direction from two exemplars therefore
drowns the one from a bank of hundreds. The share that comes with each direction does not depend on n: how far a
picture should move away follows from how alike it is to the most similar one, how far towards the exemplars from how
far away it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..kernels.similarity import gaussian_kernel, median_bandwidth, squared_distances
from ..kernels.vendi import log_vendi_gradient, log_vendi_gradient_gaussian, vendi_score
from ..kernels.vendi_order_two import order_two_force
from .vendi_settings import VendiSettings

UNRELATED = math.sqrt(2)
"""Distance of two unit features that have nothing in common."""

MEDIAN_SAMPLE = 256
"""Pictures of which the median rule is taken."""


@dataclass(frozen=True)
class Described:
    """Pictures as the score sees them.

    Attributes:
        features: unit rows, (n, d).
        prompts: unit rows (n, w) whose inner products say how alike the prompts are; None where that does not count.
    """

    features: Tensor
    prompts: Tensor | None = None

    def __len__(self) -> int:
        return len(self.features)

    def at(self, rows: Tensor) -> Described:
        """Some of them, by index."""
        return Described(self.features[rows], None if self.prompts is None else self.prompts[rows])

    def followed_by(self, others: Described) -> Described:
        """These and then others."""
        both = None if self.prompts is None or others.prompts is None else torch.cat([self.prompts, others.prompts])
        return Described(torch.cat([self.features, others.features]), both)

    def likeness(self, others: Described) -> Tensor | None:
        """Similarities (n, m) of the prompts; None where they do not count."""
        if self.prompts is None or others.prompts is None:
            return None
        return (self.prompts @ others.prompts.T).clamp(0, 1)


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
    everything = references.followed_by(batch) if settings.in_batch else references
    if not len(everything):
        nothing = torch.zeros_like(batch.features)
        return Direction(nothing, nothing.sum(1), nothing[:, :0])
    distances = squared_distances(batch.features, everything.features).sqrt()
    similarity = _similarity(batch, everything, _bandwidth(everything, settings))
    likeness = batch.likeness(everything)
    if likeness is not None:
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

    Prompts do not count, and the Gaussian kernel takes the median rule: exemplars are to be found from any distance.

    Args:
        batch: pictures that move.
        exemplars: at least one.
        settings: order and kernel.

    Returns:
        The direction, with distances to the exemplars. ``share`` is the distance to the nearest one, relative to that
        of unrelated features.
    """
    distances = squared_distances(batch.features, exemplars.features).sqrt()
    last = torch.tensor([len(exemplars)])
    gradients = []
    for row in batch.features:
        joined = Described(torch.cat([exemplars.features, row[None]]))
        width = None if settings.kernel == "cosine" else median_bandwidth(joined.features)
        gradients.append(-_gradient(joined, last, settings, width))
    return Direction(torch.cat(gradients), (distances.amin(1) / UNRELATED).clamp(max=1), distances)


def _group_gradient(group: Described, references: Described, known: Tensor, settings: VendiSettings) -> Tensor:
    """Gradient for pictures that move together beside references, to which their similarities are known."""
    bounded = settings.kernel == "cosine" or settings.bandwidth > 0
    if settings.order == 2 and settings.balance == "apart" and bounded:
        everything = group.followed_by(references)
        width = _bandwidth(everything, settings)
        return order_two_force(group.features, references.features, width, group.likeness(everything))
    kept = known.amax(0).topk(min(settings.neighbours, len(references))).indices
    joined = references.at(kept).followed_by(group)
    return _gradient(joined, torch.arange(len(kept), len(joined)), settings, _bandwidth(joined, settings))


def _gradient(items: Described, rows: Tensor, settings: VendiSettings, width: float | None) -> Tensor:
    """Gradient of log VS, or of VS itself where the published balance of the two directions is wanted."""
    condition = items.likeness(items)
    if width is None:
        gradient = log_vendi_gradient(items.features, settings.order, rows, condition)
    else:
        gradient = log_vendi_gradient_gaussian(items.features, width, settings.order, rows, condition)
    if settings.balance == "apart":
        return gradient
    kernel = _similarity(items, items, width)
    return gradient * vendi_score(kernel if condition is None else kernel * condition, settings.order)


def _similarity(items: Described, others: Described, width: float | None) -> Tensor:
    if width is None:
        return items.features @ others.features.T
    return gaussian_kernel(items.features, others.features, bandwidth=width)


def _bandwidth(items: Described, settings: VendiSettings) -> float | None:
    """Width of the Gaussian kernel; None for the cosine kernel."""
    if settings.kernel == "cosine":
        return None
    if settings.bandwidth > 0:
        return settings.bandwidth * UNRELATED
    # All pairs of a sample: the median of ten thousand pictures is that of some hundred of them.
    stride = math.ceil(len(items) / MEDIAN_SAMPLE)
    return median_bandwidth(items.features[::stride] if stride > 1 else items.features)
