"""The record of a run that was steered inside the network."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ..trace import Trace


@dataclass
class ActivationTrace(Trace):
    """A trace whose corrections are norms of shifts relative to the norm of the activations.

    Attributes:
        evaluations: evaluations of the model within the method's interval.
        coordinates: of the images along the steering vector at the last measurement; none without one.
    """

    evaluations: int = 0
    coordinates: list[float] = field(default_factory=list)

    def _moved(self) -> str:
        moved = [step for step in self.steps if step.active_share > 0]
        return f"Steered {len(moved[0].samples)} images in {len(moved)} of {self.evaluations} steps" if moved else ""

    def summary(self) -> str:
        """One sentence for the face of a node: what was done, or why nothing was."""
        if not self.evaluations:
            sentence = f"Nothing was shifted{self.why_inactive()}."
        elif not self.steps:
            sentence = (
                "Nothing was shifted: none of its layers ran, because another node replaces or skips them. Choose "
                "other layers, or remove that node."
            )
        elif not (moved := [step for step in self.steps if step.active_share > 0]):
            sentence = "Nothing was shifted: all images have arrived already."
        else:
            shares = [record.correction for step in moved for record in step.samples if record.correction > 0]
            sentence = (
                f"Shifted the channel means of {len(moved[0].samples)} images in {len(moved)} evaluations, by "
                f"{sum(shares) / len(shares):.1%} of the activations on average."
            )
        if found := [each for each in self.coordinates if math.isfinite(each)]:
            place = sum(found) / len(found)
            sentence += f" In the last one they had come {place:.1f} of the way to the centroid."
        return " ".join([sentence, *self.notes])
