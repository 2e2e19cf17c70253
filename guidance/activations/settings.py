"""Settings of Feature Guidance."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from ..limits import SigmaInterval

Mode = Literal["towards", "away", "spread"]
RECOMMENDED_STRENGTH = 1.5
"""Coordinate along the steering vector that moves most images into the group (docs/feature_guidance.md)."""

RECOMMENDED_END = 0.75
"""Fraction of the schedule after which shifts only cost quality (docs/feature_guidance.md)."""

MODES: tuple[Mode, ...] = ("towards", "away", "spread")


@dataclass(frozen=True)
class FeatureSettings:
    """How Feature Guidance acts.

    Attributes:
        mode: "towards" the centroid, "away" from it, or "spread" the batch.
        strength: target coordinate of every image along the vector from reference to centroid, 1 at the centroid, and
            on the other side of the reference with "away". Without a reference, fraction of each image's own distance,
            over all layers. With "spread", target coordinate in standard deviations of the reference's images; without
            a reference, dilation of the batch. 0 switches the method off.
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
