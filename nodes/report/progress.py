"""The progress bar of the Diversity Report, the time left, and the Cancel button."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import comfy.model_management
import comfy.utils
from torch import Tensor

from ...features.space import FeatureSpace
from ...metrics.batch import batch_features
from ...metrics.page import ReportFigure
from ...metrics.progress import Clock
from ..host.messages import show

# Seconds between two texts on the node.
_TELL_EVERY = 2.0


class ReportProgress:
    """The report's progress, in steps that can be interrupted."""

    def __init__(self, total: int, node_id: str | None = None) -> None:
        """Start the clock.

        Args:
            total: number of steps.
            node_id: the node that says how much time is left.
        """
        self._bar = comfy.utils.ProgressBar(total)
        self._total, self._done, self._node_id = total, 0, node_id
        self._clock, self._told = Clock(), time.monotonic()

    def step(self) -> None:
        """Count one measured image or one figure."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        self._bar.update(1)
        self._done += 1
        left = self._clock.left(self._done, self._total)
        if left and time.monotonic() - self._told > _TELL_EVERY:
            show(self._node_id, f"Measuring, {left}.")
            self._told = time.monotonic()

    def features(self, images: Sequence[Tensor], space: FeatureSpace) -> Tensor:
        """Features of images, a step each."""
        return batch_features(images, space, self.step)

    def figures(self, figures: Iterator[ReportFigure], notes: list[str]) -> list[ReportFigure]:
        """Figures, a step each; notes why further ones could not be made."""
        found: list[ReportFigure] = []
        try:
            for figure in figures:
                found.append(figure)
                self.step()
        except ValueError as error:
            notes.append(f"Some figures are missing. {error}")
        return found
