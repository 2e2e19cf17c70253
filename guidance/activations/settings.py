"""How Feature Guidance acts: its modes and every number of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from ..limits import SigmaInterval

Mode = Literal["towards", "away", "spread"]
RECOMMENDED_STRENGTH = 1.5
"""Coordinate along the steering vector that brings most images to the group (docs/feature_guidance.md)."""

RECOMMENDED_END = 0.75
"""Share of the schedule after which shifts only cost quality (docs/feature_guidance.md)."""

MODES: tuple[Mode, ...] = ("towards", "away", "spread")


@dataclass(frozen=True)
class FeatureSettings:
    """How Feature Guidance acts.

    Attributes:
        mode: "towards" the centroid, "away" from it, or "spread" the batch's own features apart.
        strength: coordinate along the vector from reference to centroid at which images are left alone, 1 for the
            centroid itself, and behind the reference where it leads away; without a reference, share of each image's
            own distance, all layers together. To spread, how many standard deviations of the reference's images from
            their mean an image is left alone; without a reference, by how much the batch is dilated. 0 switches the
            method off.
        interval: noise levels at which the method acts.
    """

    mode: Mode = "towards"
    strength: float = RECOMMENDED_STRENGTH
    interval: SigmaInterval = field(default_factory=SigmaInterval)

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"Feature Guidance's mode must be one of {', '.join(MODES)}, not {self.mode!r}.")
        if not (math.isfinite(self.strength) and self.strength >= 0):
            raise ValueError(f"Feature Guidance's strength must be a number of at least 0, not {self.strength}.")
