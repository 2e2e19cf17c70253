"""The two gradients of Vendi Guidance (c-VSG, arXiv 2406.04551) in feature space, and the weight of each.

The gradient of log VS for one of n items falls as 1/n: in a plain sum, two exemplars outweigh a bank of hundreds. The
weights do not depend on n. That of the diversity gradient is the similarity to the most similar image, that of the
exemplar gradient the distance to the nearest exemplar.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from ...kernels.similarity import median_bandwidth, squared_distances
from ...kernels.vendi import log_vendi_gradient, log_vendi_gradient_gaussian, order_two_force, vendi_score
from ...kernels.vendi_bank import BankSpectrum, bank_spectrum, log_vendi_gradient_beside
from ..prompts import Prompts
from .settings import VendiSettings

UNRELATED = math.sqrt(2)
"""Distance between two orthogonal unit features."""

CLOSEST = 1e-3
"""Floor for the distance to an exemplar."""

MEDIAN_SAMPLE = 256
"""References from which the median rule takes the bandwidth."""

MAX_DECOMPOSED = 1024
"""Banks are decomposed as a whole up to this many images, or this many features: it takes about a second."""


@dataclass(frozen=True)
class Embeddings:
    """Unit features of images, and their prompts.

    Attributes:
        features: unit rows, (n, d).
        prompts: of the images; None if prompts do not count.
    """

    features: Tensor
    prompts: Prompts | None = None

    def __len__(self) -> int:
        return len(self.features)

    @cached_property
    def spectrum(self) -> BankSpectrum:
        """Spectrum of the features, computed once."""
        return bank_spectrum(self.features)

    def take(self, rows: Tensor) -> Embeddings:
        """The rows of these indices."""
        return Embeddings(self.features[rows], None if self.prompts is None else self.prompts.take(rows))

    def concat(self, others: Embeddings) -> Embeddings:
        """These rows, then the others."""
        prompts = None if self.prompts is None or others.prompts is None else self.prompts.concat(others.prompts)
        return Embeddings(torch.cat([self.features, others.features]), prompts)

    def prompt_similarity(self, others: Embeddings) -> Tensor:
        """Similarities of the prompts, (n, m); 1 if they do not count."""
        if self.prompts is None or others.prompts is None:
            return self.features.new_ones(len(self), len(others))
        return self.prompts.similarity(others.prompts)


class Direction(NamedTuple):
    """A direction for the features of a batch.

    Attributes:
        gradient: in feature space, shape (B, d), of any length.
        weight: 0 to 1, shape (B,).
        distances: to the images it depends on, shape (B, N); infinity for those that do not count.
    """

    gradient: Tensor
    weight: Tensor
    distances: Tensor


def diversity_gradient(batch: Embeddings, references: Embeddings, settings: VendiSettings) -> Direction:
    """Gradient of the Vendi Score of references and batch together.

    Args:
        batch: images that move, B of them.
        references: images that do not.
        settings: order, kernel, bandwidth, neighbours, and whether the batch counts.

    Returns:
        The direction, with distances to the references and then, if the batch counts, to the batch. ``weight`` is the
        similarity to the most similar of them.
    """
    if not len(batch) or not (len(references) or settings.in_batch):
        nothing = torch.zeros_like(batch.features)
        return Direction(nothing, nothing.sum(1), nothing[:, :0])
    # Block by block, so that a large bank is not copied.
    blocks = (references, batch) if settings.in_batch else (references,)
    distances = torch.cat([squared_distances(batch.features, block.features) for block in blocks], 1).sqrt()
    similarity = _similarity(distances, _bandwidth(references, batch, settings))
    if batch.prompts is not None:
        condition = torch.cat([batch.prompt_similarity(block) for block in blocks], 1)
        similarity = similarity * condition
        distances = distances.masked_fill(condition == 0, math.inf)
    if settings.in_batch:
        own = torch.arange(len(batch), device=distances.device)
        distances[own, len(references) + own] = math.inf
        similarity[own, len(references) + own] = 0
    groups = torch.arange(len(batch)).split(len(batch) if settings.in_batch else 1)
    known = similarity[:, : len(references)]
    gradients = [_group_gradient(batch.take(rows), references, known[rows], settings) for rows in groups]
    return Direction(torch.cat(gradients), similarity.amax(1).clamp(0, 1), distances)


def exemplar_gradient(batch: Embeddings, exemplars: Embeddings, settings: VendiSettings) -> Direction:
    """Negative gradient of the Vendi Score of the exemplars and one image, for each image of a batch.

    Prompts do not count. The width of the Gaussian kernel follows the distance to the nearest exemplar: that one
    attracts most at any distance, rather than the mean of all.

    Args:
        batch: images that move.
        exemplars: at least one.
        settings: order and kernel.

    Returns:
        The direction, with distances to the exemplars. ``weight`` is the distance to the nearest one, relative to that
        between unrelated features.
    """
    distances = squared_distances(batch.features, exemplars.features).sqrt()
    nearest = distances.amin(1)
    last = torch.tensor([len(exemplars)])
    gradients = []
    for row, distance in zip(batch.features, nearest.tolist(), strict=True):
        both = Embeddings(torch.cat([exemplars.features, row[None]]))
        width = None if settings.kernel == "cosine" else max(distance, CLOSEST) / math.sqrt(2)
        gradients.append(-_gradient(both, last, settings, width))
    return Direction(torch.cat(gradients), (nearest / UNRELATED).clamp(max=1), distances)


def _group_gradient(group: Embeddings, references: Embeddings, known: Tensor, settings: VendiSettings) -> Tensor:
    """Gradient for images that move together beside references; ``known`` holds their similarities to these."""
    normalised = settings.balance == "normalised"
    if settings.order == 2 and normalised:
        condition = None
        if group.prompts is not None:
            condition = torch.cat([group.prompt_similarity(group), group.prompt_similarity(references)], 1)
        width = _bandwidth(references, group, settings)
        return order_two_force(group.features, references.features, width, condition)
    if normalised and _can_be_decomposed(references, settings):
        return log_vendi_gradient_beside(references.spectrum, group.features)
    kept = references.take(known.amax(0).topk(min(settings.neighbours, len(references))).indices)
    rows = torch.arange(len(kept), len(kept) + len(group))
    return _gradient(kept.concat(group), rows, settings, _bandwidth(kept, group, settings))


def _can_be_decomposed(references: Embeddings, settings: VendiSettings) -> bool:
    """Whether all references can count, by a spectrum computed once a run; otherwise the nearest neighbours do."""
    inner_products = settings.kernel == "cosine" and settings.order == 1 and references.prompts is None
    return inner_products and 0 < min(references.features.shape) <= MAX_DECOMPOSED


def _gradient(items: Embeddings, rows: Tensor, settings: VendiSettings, width: float | None) -> Tensor:
    """Gradient of log VS, or of VS itself as published if the terms are summed."""
    condition = None if items.prompts is None else items.prompt_similarity(items)
    if width is None:
        gradient = log_vendi_gradient(items.features, settings.order, rows, condition)
    else:
        gradient = log_vendi_gradient_gaussian(items.features, width, settings.order, rows, condition)
    if settings.balance == "normalised":
        return gradient
    kernel = _similarity(squared_distances(items.features, items.features).sqrt(), width)
    return gradient * vendi_score(kernel if condition is None else kernel * condition, settings.order)


def _similarity(distances: Tensor, width: float | None) -> Tensor:
    """Similarities of unit features at these distances: the Gaussian kernel of a width, or the cosine for None."""
    squares = distances.square()
    return 1 - squares / 2 if width is None else torch.exp(squares / (-2 * width**2))


def _bandwidth(references: Embeddings, batch: Embeddings, settings: VendiSettings) -> float | None:
    """Width of the Gaussian kernel; None for the cosine kernel."""
    if settings.kernel == "cosine":
        return None
    if settings.bandwidth > 0:
        return settings.bandwidth * UNRELATED
    # The median of ten thousand images is close to that of some hundred.
    stride = max(1, math.ceil(len(references) / MEDIAN_SAMPLE))
    return median_bandwidth(torch.cat([references.features[::stride], batch.features]))
