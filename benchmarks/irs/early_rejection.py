"""Stop sampling a model as soon as it can no longer be diverse (arXiv 2411.16171, rejection of the null hypothesis).

The claim is that a model covers at least s training images; k_min(s, n) or fewer different ones among n retrieved
images reject it. The rejection is certain as soon as the remaining samples cannot raise the count above k_min, with the
error of the test after all n samples. Several looks divide the error.
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
    """The rejection of a claim.

    Attributes:
        draws: samples after which it was certain.
        learned: different training images among their nearest.
        look: number of samples of the test.
        threshold: k_min at that number.
        support: training images that the model was claimed to cover.
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
            f"Stop: after {self.draws:,} images with {self.learned:,} different training images as their nearest "
            f"neighbours this model cannot cover {self.support:,} of them: {self.look:,} images would have to "
            f"retrieve more than {self.threshold:,} (error below {self.error:.0%})."
        )


class EarlyRejection:
    """A sequential test that takes samples as they come."""

    def __init__(self, support: int, planned: int, error: float = 0.05, looks: Sequence[int] | None = None) -> None:
        """Compute the thresholds.

        Args:
            support: number s of training images that the model is claimed to cover.
            planned: largest number n of samples.
            error: probability of rejecting a true claim, over all looks.
            looks: numbers of samples of the tests; None for ``planned`` halved down to about fifty.

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
        """Different training images retrieved so far."""
        return len(self._seen)

    def update(self, retrieved: Tensor | Sequence[int]) -> Rejection | None:
        """Count samples one by one until the claim is rejected.

        Args:
            retrieved: index of the nearest training image of each new sample.

        Returns:
            The rejection; None while there is none.
        """
        for index in torch.as_tensor(retrieved).tolist():
            if self.rejection is not None:
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


def _halved(planned: int) -> list[int]:
    """``planned``, its half, quarter ... as long as a test can reject."""
    looks = [planned]
    while looks[-1] // 2 >= _FIRST_LOOK:
        looks.append(looks[-1] // 2)
    return looks[::-1]
