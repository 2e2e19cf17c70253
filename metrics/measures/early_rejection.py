"""Stop sampling a model as soon as it cannot be diverse any more (arXiv 2411.16171, rejection of the null hypothesis).

A model is claimed to cover at least s training pictures. If n samples retrieve k_min(s, n) or fewer different ones, the
claim is refuted. That is known as soon as the samples still to come cannot lift the count above k_min: the decision is
the same as after all n samples, and the error too. Looks at several n share the error among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...kernels.retrieval import rejection_threshold

_FIRST_LOOK = 50


@dataclass(frozen=True)
class Rejection:
    """Why the claim is refuted.

    Attributes:
        draws: samples after which it was known.
        learned: different training pictures they retrieved.
        look: number of samples at which the test was going to be made.
        threshold: k_min there.
        support: training pictures that the model was claimed to cover.
        error: probability of refuting a true claim.
    """

    draws: int
    learned: int
    look: int
    threshold: int
    support: int
    error: float

    def __str__(self) -> str:
        """The verdict as a sentence."""
        return (
            f"Stop: after {self.draws:,} pictures with {self.learned:,} different training pictures as their nearest "
            f"neighbours this model cannot cover {self.support:,} of them: {self.look:,} pictures would have to "
            f"retrieve more than {self.threshold:,} (error below {self.error:.0%})."
        )


class EarlyRejection:
    """The test, fed with samples as they come."""

    def __init__(self, support: int, planned: int, error: float = 0.05, looks: Sequence[int] | None = None) -> None:
        """Compute the thresholds.

        Args:
            support: number s of training pictures that the model is claimed to cover.
            planned: number n of samples to be drawn at most.
            error: probability of refuting a true claim, over all looks.
            looks: numbers of samples at which the count is tested; None for ``planned`` halved down to about fifty.

        Raises:
            ValueError: no support, no samples, looks outside 1 to ``planned`` or an error outside (0, 1).
        """
        looks = _halved(planned) if looks is None else sorted(set(looks))
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
        """Different training pictures retrieved so far."""
        return len(self._seen)

    def update(self, retrieved: Tensor | Sequence[int]) -> Rejection | None:
        """Take in samples, one by one, until the claim is refuted.

        Args:
            retrieved: index of the nearest training picture of each new sample.

        Returns:
            Why the claim is refuted, from the first time on; None while it is not.
        """
        for index in torch.as_tensor(retrieved).tolist():
            if self.rejection is not None:
                break
            self.draws += 1
            self._seen.add(int(index))
            self.rejection = self._verdict()
        return self.rejection

    def _verdict(self) -> Rejection | None:
        for look, threshold in zip(self.looks, self.thresholds, strict=True):
            if self.draws <= look and self.learned + look - self.draws <= threshold:
                return Rejection(self.draws, self.learned, look, threshold, self.support, self.error)
        return None


def _halved(planned: int) -> list[int]:
    """``planned``, its half, quarter ... as long as there are enough samples for a verdict."""
    looks = [planned]
    while looks[-1] // 2 >= _FIRST_LOOK:
        looks.append(looks[-1] // 2)
    return looks[::-1]
