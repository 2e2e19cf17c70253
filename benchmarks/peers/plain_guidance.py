"""A guidance that has nothing to tell or to correct at the end: only the estimates of a step count."""

from __future__ import annotations

from torch import Tensor

from ...guidance.base import Guidance, SamplingRun
from ...guidance.trace import Trace


class PlainGuidance(Guidance):
    """Knows nothing but the present step, where a method does not say otherwise in ``begin``."""

    @property
    def trace(self) -> Trace:
        """Nothing is told."""
        return Trace()

    def begin(self, run: SamplingRun) -> None:
        """Nothing is kept."""

    def finish(self, samples: Tensor) -> Tensor:
        """The same tensor."""
        return samples
