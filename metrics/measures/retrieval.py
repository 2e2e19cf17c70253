"""Image Retrieval Score (arXiv 2411.16171): the share of a training set that generated images retrieve.

IRS_alpha is the share retrieved so far, with alpha the number of samples over that of training images; IRS_infinity is
its limit for infinitely many samples. In no feature space do real images retrieve everything: only the adjusted score,
relative to held-out real images, is comparable between spaces.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...kernels.retrieval import distinct_count_moments, irs_infinity

ERROR = 0.05
"""Error of each bound: both together have a confidence of 90 %."""

_CURVE_POINTS = 64


@dataclass(frozen=True)
class Retrieval:
    """The retrieval of a reference set by a set of images.

    Attributes:
        draws: number of images.
        learned: number of different references retrieved.
        references: size of the reference set.
        lower: lower bound of IRS_infinity, as a share of the references.
        infinity: IRS_infinity, the most likely share.
        upper: upper bound of IRS_infinity.
        curve: (draws, different references) for up to 64 numbers of draws.
    """

    draws: int
    learned: int
    references: int
    lower: float
    infinity: float
    upper: float
    curve: tuple[tuple[int, int], ...]

    @property
    def alpha(self) -> float:
        """Images per reference."""
        return self.draws / self.references

    @property
    def irs_alpha(self) -> float:
        """Share of the references that was retrieved."""
        return self.learned / self.references

    @property
    def ideal_alpha(self) -> float:
        """Expected share for as many images if all references were equally likely."""
        return ideal_share(self.draws, self.references)


@dataclass(frozen=True)
class AdjustedScore:
    """IRS_infinity of generated images relative to that of as many held-out real ones.

    Attributes:
        value: IRS_infinity,a; above 1 if generated images retrieve more than real ones.
        lower: lower bound of the one over the upper bound of the other; both bounds have a confidence of at least 80 %.
        upper: upper bound of the one over the lower bound of the other.
        draws: number of images of each kind.
    """

    value: float
    lower: float
    upper: float
    draws: int


def measure_retrieval(retrieved: Tensor, references: int, error: float = ERROR) -> Retrieval:
    """The scores of images from their nearest references.

    Args:
        retrieved: (n,) index of each image's nearest reference, in the order in which the images were sampled.
        references: size of the reference set.
        error: of each bound.

    Raises:
        ValueError: no images, or indices outside the reference set.
    """
    counts = distinct_counts([retrieved], references)
    draws = len(counts)
    if not draws:
        raise ValueError("No images, no retrieval score: give at least one.")
    learned = int(counts[-1])
    bounds = irs_infinity(learned, draws, references, error)
    lower, infinity, upper = (bound / references for bound in bounds)
    return Retrieval(draws, learned, references, lower, infinity, upper, _curve(counts))


def adjusted_score(generated: Retrieval, real: Retrieval) -> AdjustedScore:
    """IRS_infinity,a: generated images against held-out real ones.

    Args:
        generated: retrieval by generated images.
        real: retrieval of the same references by as many real images.

    Raises:
        ValueError: the numbers of images or of references differ.
    """
    if (generated.draws, generated.references) != (real.draws, real.references):
        raise ValueError(
            f"{generated.draws} images on {generated.references} references cannot be compared with {real.draws} "
            f"on {real.references}: take equally many."
        )
    return AdjustedScore(
        generated.infinity / real.infinity,
        generated.lower / real.upper,
        generated.upper / real.lower,
        generated.draws,
    )


def distinct_counts(batches: Iterable[Tensor], references: int) -> Tensor:
    """Cumulative number of different references retrieved, after each image.

    Args:
        batches: indices of references, batch by batch.
        references: size of the reference set.

    Returns:
        (n,) int64 for n images.

    Raises:
        ValueError: indices outside the reference set.
    """
    seen = torch.zeros(references, dtype=torch.bool)
    counts = [torch.zeros(0, dtype=torch.int64)]
    for batch in batches:
        batch = torch.as_tensor(batch, dtype=torch.int64)
        if len(batch) and not (int(batch.min()) >= 0 and int(batch.max()) < references):
            raise ValueError(f"Retrieved indices must lie between 0 and {references - 1}.")
        values, first = np.unique(batch.numpy(), return_index=True)
        new = torch.zeros(len(batch), dtype=torch.int64)
        new[torch.from_numpy(first)] = (~seen[torch.from_numpy(values)]).to(torch.int64)
        counts.append(int(seen.sum()) + new.cumsum(0))
        seen[batch] = True
    return torch.cat(counts)


def ideal_share(draws: int, references: int, support: float | None = None) -> float:
    """Expected share of the references after ``draws`` draws if ``support`` of them, or all, are equally likely."""
    reached = references if support is None else max(1, round(support))
    return distinct_count_moments(reached, draws)[0] / references


def _curve(counts: Tensor) -> tuple[tuple[int, int], ...]:
    """The counts after 1 draw, after all draws, and at equal steps between."""
    draws = len(counts)
    step = max(1, math.ceil(draws / _CURVE_POINTS))
    marks = sorted({1, *range(step, draws + 1, step), draws})
    return tuple((mark, int(counts[mark - 1])) for mark in marks)
