"""Stop sampling a model as soon as it can no longer be diverse (arXiv 2411.16171, figure 7).

The claim is that a model retrieves at least s references, all equally likely; k_min(s, n) or fewer different ones among
n images reject it. That is certain as soon as the remaining samples cannot lift the count above k_min: the decision and
its error are those after all n samples. Several looks share the error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...kernels.retrieval import irs_infinity, rejection_threshold
from .irs import COVERAGE_CLAIM
from .retrieval import ERROR, distinct_counts

# The first look is at half as many samples as references are claimed, within these limits.
_FEWEST, _FIRST_LOOK = 4, 50


@dataclass(frozen=True)
class Rejection:
    """Why the claim is rejected.

    Attributes:
        draws: samples after which it was certain.
        learned: different references that they retrieved.
        look: number of samples of the test.
        threshold: k_min at that number.
        support: references that the model was claimed to cover.
        error: probability of rejecting a true claim.
    """

    draws: int
    learned: int
    look: int
    threshold: int
    support: int
    error: float

    def __str__(self) -> str:
        """The decision in a sentence."""
        return (
            f"Stop: after {self.draws:,} images with {self.learned:,} different references as their nearest neighbours "
            f"this cannot reach {self.support:,} of them: {self.look:,} images would have to retrieve more than "
            f"{self.threshold:,} (certainty {1 - self.error:.0%})."
        )


class EarlyRejection:
    """A sequential test that takes samples as they come."""

    def __init__(self, support: int, planned: int, error: float = ERROR, looks: Sequence[int] | None = None) -> None:
        """Compute the thresholds.

        Args:
            support: number s of references that the model is claimed to cover.
            planned: largest number n of samples.
            error: probability of rejecting a true claim, over all looks.
            looks: numbers of samples of the tests; None for ``planned``, halved down to fifty or half the support.

        Raises:
            ValueError: no support, no samples, looks outside 1 to ``planned`` or an error outside (0, 1).
        """
        looks = _halved(planned, support) if looks is None else sorted(set(looks))
        if not looks or looks[0] < 1 or looks[-1] > planned:
            raise ValueError(f"Expected looks at between 1 and {planned} samples, got {list(looks)}.")
        self.support = support
        self.error = error
        self.looks = tuple(looks)
        self.thresholds = tuple(rejection_threshold(support, look, error / len(looks)) for look in looks)
        self.draws = 0
        self._seen: set[int] = set()
        self.rejection: Rejection | None = None

    @property
    def learned(self) -> int:
        """Different references retrieved so far."""
        return len(self._seen)

    def update(self, retrieved: Tensor | Sequence[int]) -> Rejection | None:
        """Count samples one by one until the claim is rejected, or as many as planned were counted.

        Args:
            retrieved: index of the nearest reference of each new sample.

        Returns:
            Why the claim is rejected; None while it is not.
        """
        for index in torch.as_tensor(retrieved).tolist():
            if self.rejection is not None or self.draws == self.looks[-1]:
                break
            self.draws += 1
            self._seen.add(int(index))
            self.rejection = self._decision()
        return self.rejection

    def _decision(self) -> Rejection | None:
        for look, threshold in zip(self.looks, self.thresholds, strict=True):
            if self.draws <= look and self.learned + look - self.draws <= threshold:
                return Rejection(self.draws, self.learned, look, threshold, self.support, self.error)
        return None


@dataclass(frozen=True)
class Outlook:
    """Whether images that are still being sampled can reach a share of the references.

    Attributes:
        stop: whether that is ruled out.
        headline: the decision in a few words.
        sentence: the decision with its reason.
    """

    stop: bool
    headline: str
    sentence: str


def outlook(
    retrieved: Tensor,
    references: int,
    planned: int,
    claim: float = COVERAGE_CLAIM,
    error: float = ERROR,
    real: Tensor | None = None,
) -> Outlook:
    """Test after every image whether the planned ones can still reach the claimed share of the references.

    Args:
        retrieved: (n,) nearest reference of every image so far, in the order in which they were sampled; those beyond
            ``planned`` are left out.
        references: number of references.
        planned: number of images to be sampled in total.
        claim: share of the references, above 0 and at most 1.
        error: probability of saying stop although the claim is true.
        real: (m,) nearest reference of held-out real images. The claim is then a share of what real images retrieve,
            by the lower bound of their IRS_infinity. No feature space lets even these retrieve everything.

    Raises:
        ValueError: a claim or an error out of range, no references, or no images planned.
    """
    check_claim(claim, planned, error)
    reachable, share = references, error
    if real is not None and len(real):
        # Two bounds share the error: that of what real images reach, and that of the test.
        share = error / 2
        reachable, _, _ = irs_infinity(int(distinct_counts([real], references)[-1]), len(real), references, share)
    support = max(1, math.ceil(claim * reachable))
    test = EarlyRejection(support, planned, share)
    found = test.update(retrieved)
    aim = f"{claim:.0%} of the references"
    if reachable < references:
        aim = f"{claim:.0%} of what real images reach"
    aim = f"{aim} ({support:,} of {references:,})"
    if found is not None:
        return Outlook(
            True,
            f"Stop: cannot reach {claim:.0%}",
            f"Stop: after {found.draws:,} images this cannot reach {aim}. They reach {found.learned:,}; if so many "
            f"were in reach, {found.look:,} images would reach more than {found.threshold:,}. Certainty "
            f"{1 - error:.0%}, for independent images and references that are equally easy to reach.",
        )
    if test.draws == planned:
        return Outlook(
            False,
            f"{claim:.0%} not ruled out",
            f"All {planned:,} images are there and reach {test.learned:,} of {references:,} references: {aim} is not "
            "ruled out.",
        )
    return Outlook(
        False,
        f"Go on: {test.draws:,} of {planned:,}",
        f"Go on: {test.draws:,} of {planned:,} images reach {test.learned:,} of {references:,} references so far, and "
        f"{aim} is not ruled out.",
    )


def check_claim(claim: float, planned: int, error: float) -> None:
    """Refuse settings of ``outlook`` that are out of range, before any image is read.

    Raises:
        ValueError: one of them is.
    """
    if not 0 < claim <= 1:
        raise ValueError(f"The claimed share of the references must be above 0 and at most 1, got {claim:g}.")
    if planned < 1:
        raise ValueError(f"At least 1 image must be planned, got {planned}.")
    if not 0 < error < 1:
        raise ValueError(f"The certainty must lie between 0 and 1, got {1 - error:g}. Usual is {1 - ERROR:g}.")


def _halved(planned: int, support: int) -> list[int]:
    """``planned``, its half, quarter ... as long as a test can reject."""
    first = max(_FEWEST, min(_FIRST_LOOK, support // 2))
    looks = [planned]
    while looks[-1] // 2 >= first:
        looks.append(looks[-1] // 2)
    return looks[::-1]
