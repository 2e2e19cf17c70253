"""Base of guidances that act on the estimates of a step alone."""

from __future__ import annotations

from torch import Tensor

from ...guidance.base import Guidance, SamplingRun
from ...guidance.trace import Trace


class PlainGuidance(Guidance):
    """A guidance without a trace, and without a correction at the end."""

    @property
    def trace(self) -> Trace:
        """Empty."""
        return Trace()

    def begin(self, run: SamplingRun) -> None:
        """Nothing to prepare."""

    def finish(self, samples: Tensor) -> Tensor:
        """The same tensor."""
        return samples
