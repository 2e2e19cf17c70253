"""The progress bar of the Diversity Report, and its Cancel button."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import comfy.model_management
import comfy.utils
from torch import Tensor

from ...features.space import FeatureSpace
from ...metrics.batch import batch_features
from ...metrics.page import ReportFigure


class ReportProgress:
    """The report's progress, in steps that can be interrupted."""

    def __init__(self, total: int) -> None:
        self._bar = comfy.utils.ProgressBar(total)

    def step(self) -> None:
        """Count one measured image or one figure."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        self._bar.update(1)

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
