"""Settings of Sparse Repellency: arXiv 2410.06025 (SPELL / Shielded Diffusion), section 3, and our additions."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from ..limits import NormClip, SigmaInterval

RECOMMENDED_END = 0.85
"""Fraction of the schedule after which repellency costs quality without reaching further modes (docs/results.md)."""


@dataclass(frozen=True)
class RepellencySettings:
    """How Sparse Repellency acts.

    Attributes:
        radius: of every shield, as a fraction of the typical distance between unrelated images, which is measured
            from the references or, without any, from the batch itself. 0 switches the method off.
        strength: factor on every push (the paper's overcompensation lambda); 1 brings an estimate exactly to the
            surface of a single shield, 0 switches the method off.
        cfg_easing: how far classifier-free guidance is eased inside a shield: the estimate moves towards the
            conditional one by this factor times the depth 1 - distance / radius, at most 1. 0 is the paper.
        measure: the estimate whose distances count: the "conditional" one before classifier-free guidance or the
            "guided" one (the paper). Without classifier-free guidance they are the same.
        overlap: "sum" adds the pushes of all shields (the paper); "outside" moves out of overlapping ones too.
        in_batch: whether the images of a batch keep away from one another.
        interval: noise levels at which the method acts.
        ensure_outside: whether the final latents are moved outside every shield, regardless of interval and norm clip.
        absolute_radius: radius in the units of the model's latents instead of ``radius``; 0 for none.
        norm_clip: largest push relative to the model's own update and estimate.
        target: how many images of a batch should be clearly different (see ``target``); it replaces the radius, which
            is then found in the run. 0 for none.
        prompt_similarity: least similarity of the prompts of a bank's images that count to the run's, 0 to 1, as
            ``prompts`` measures it. 0 counts all images.
    """

    radius: float = 0.2
    strength: float = 1.0
    cfg_easing: float = 2.0
    measure: Literal["conditional", "guided"] = "conditional"
    overlap: Literal["sum", "outside"] = "sum"
    in_batch: bool = True
    interval: SigmaInterval = field(default_factory=SigmaInterval)
    ensure_outside: bool = False
    absolute_radius: float = 0.0
    norm_clip: NormClip = field(default_factory=NormClip)
    target: int = 0
    prompt_similarity: float = 0.0

    def __post_init__(self) -> None:
        for name in ("radius", "strength", "cfg_easing", "absolute_radius"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"Sparse Repellency's {name} must be a number of at least 0, not {value}.")
        if not 0 <= self.prompt_similarity <= 1:
            raise ValueError(
                f"Sparse Repellency's prompt_similarity must be a number from 0 to 1, not {self.prompt_similarity}."
            )
        if self.target < 0:
            raise ValueError(f"Sparse Repellency's target must be a number of images from 0 on, not {self.target}.")
        if self.measure not in ("conditional", "guided") or self.overlap not in ("sum", "outside"):
            raise ValueError(f'"{self.measure}" and "{self.overlap}" are not a measure and an overlap of {__name__}.')

    @property
    def is_off(self) -> bool:
        """Whether no push can ever be made."""
        return self.strength == 0 or (self.radius == 0 and self.absolute_radius == 0)
