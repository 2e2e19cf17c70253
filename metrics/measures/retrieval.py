"""Image Retrieval Score (arXiv 2411.16171): the share of a training set that generated pictures retrieve.

IRS_alpha is the share retrieved so far, alpha being samples over training pictures; IRS_infinity the share that endless
sampling would reach. No feature space lets even real pictures retrieve everything: only the adjusted score, against
held-out real pictures, is comparable between spaces.
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
"""Of each bound: a lower and an upper one enclose the score at 90 %."""

_CURVE_POINTS = 64


@dataclass(frozen=True)
class Retrieval:
    """What a set of pictures retrieved from a reference set.

    Attributes:
        draws: number of pictures.
        learned: number of different references retrieved.
        references: size of the reference set.
        lower: lower bound of IRS_infinity, as a share of the references.
        infinity: IRS_infinity, the most likely share.
        upper: its upper bound.
        curve: (draws, different references) along the way, for at most 64 numbers of draws.
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
        """Pictures per reference."""
        return self.draws / self.references

    @property
    def irs_alpha(self) -> float:
        """Share of the references that was retrieved."""
        return self.learned / self.references

    @property
    def ideal_alpha(self) -> float:
        """Share that as many pictures would retrieve if all references were equally likely."""
        return ideal_share(self.draws, self.references)


@dataclass(frozen=True)
class AdjustedScore:
    """IRS_infinity of generated pictures relative to that of as many held-out real ones.

    Attributes:
        value: IRS_infinity,a; above 1 where generated pictures retrieve more than real ones do.
        lower: the lower bound of one over the upper bound of the other: at least 80 % confidence together.
        upper: the other way round.
        draws: pictures of each kind.
    """

    value: float
    lower: float
    upper: float
    draws: int


def measure_retrieval(retrieved: Tensor, references: int, error: float = ERROR) -> Retrieval:
    """The scores of pictures whose nearest references are known.

    Args:
        retrieved: (n,) index of each picture's nearest reference, in the order in which the pictures were drawn.
        references: size of the reference set.
        error: of each bound.

    Raises:
        ValueError: no pictures, or indices outside the reference set.
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
    """IRS_infinity,a: generated pictures against held-out real ones.

    Args:
        generated: what generated pictures retrieved.
        real: what as many real pictures retrieved from the same references.

    Raises:
        ValueError: the numbers of draws or of references differ.
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
    """Number of different references retrieved after each picture.

    Args:
        batches: indices of references, batch after batch.
        references: size of the reference set.

    Returns:
        (n,) int64 for n pictures in all.

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
    """Expected share of the references after so many draws, were ``support`` of them (or all) equally likely."""
    reached = references if support is None else max(1, round(support))
    return distinct_count_moments(reached, draws)[0] / references


def _curve(counts: Tensor) -> tuple[tuple[int, int], ...]:
    """The counts after 1 draw, after all, and at equal steps between."""
    draws = len(counts)
    step = max(1, math.ceil(draws / _CURVE_POINTS))
    marks = sorted({1, *range(step, draws + 1, step), draws})
    return tuple((mark, int(counts[mark - 1])) for mark in marks)
