"""How Vendi Guidance acts: every number of it, and the published algorithm (c-VSG, arXiv 2406.04551) as one of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from ..limits import NormClip, SigmaInterval


@dataclass(frozen=True)
class VendiSettings:
    """How Vendi Guidance acts.

    Attributes:
        alpha: weight of the diversity gradient, which raises the Vendi Score of bank and batch; 0 for none.
        beta: weight of the exemplar gradient, which lowers the Vendi Score of the exemplars and each image; 0 for none.
        strength: length of a full push, as a fraction of the typical distance between unrelated images, measured from
            the estimates ("estimate"), or of the norm of the noisy sample ("noisy", the paper). 0 switches pushes off.
        cfg_easing: how far classifier-free guidance is eased for images that repeat others: the estimate moves towards
            the conditional one by this factor times the redundancy, at most 1. 0 is the paper.
        order: q of the Vendi Score, above 0; small orders count rare images fully, 2 needs no spectrum.
        kernel: "gaussian" in the distance of features, or "cosine" (the paper).
        bandwidth: width of the Gaussian kernel, in units of the distance between unrelated features; 0 for the median
            rule.
        measure: the estimate that is embedded: the "conditional" one before classifier-free guidance or the "guided"
            one. Without classifier-free guidance they are the same.
        balance: "normalised" scales each gradient to its own weight, which depends on how redundant or how far off an
            image is and not on the size of bank and exemplars; "summed" normalises the sum of the raw gradients (the
            paper).
        unit: what ``strength`` is a fraction of.
        frequency: re-measure every N steps of the schedule; 1 is every step.
        hold: whether a push is repeated until the next measurement; otherwise only steps that measure act (the paper).
        neighbours: how many remembered images, the most similar ones, count; order 2 counts all of them, and so does
            the cosine kernel at order 1 without prompts.
        in_batch: whether the images of a batch are pushed apart together; otherwise each only from the bank.
        project: whether the component of the push along the model's own update is removed.
        interval: noise levels at which the method acts.
        norm_clip: largest push relative to the model's own doing.
    """

    alpha: float = 1.0
    beta: float = 2.0
    strength: float = 0.2
    cfg_easing: float = 1.0
    order: float = 1.0
    kernel: Literal["gaussian", "cosine"] = "gaussian"
    bandwidth: float = 0.15
    measure: Literal["conditional", "guided"] = "conditional"
    balance: Literal["normalised", "summed"] = "normalised"
    unit: Literal["estimate", "noisy"] = "estimate"
    frequency: int = 1
    hold: bool = True
    neighbours: int = 128
    in_batch: bool = True
    project: bool = True
    interval: SigmaInterval = field(default_factory=SigmaInterval)
    norm_clip: NormClip = field(default_factory=NormClip)

    def __post_init__(self) -> None:
        for name in ("alpha", "beta", "strength", "cfg_easing", "bandwidth"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"Vendi Guidance's {name} must be a number of at least 0, not {value}.")
        if self.alpha == 0 and self.beta == 0 and self.strength > 0:
            raise ValueError("With alpha and beta both 0 Vendi Guidance can do nothing: give one of them a weight.")
        if not self.order > 0:
            raise ValueError(f"The order of a Vendi Score must be above 0, not {self.order}.")
        if self.frequency < 1 or self.neighbours < 1:
            raise ValueError(
                f"Vendi Guidance's frequency and neighbours must be at least 1, not {self.frequency} and "
                f"{self.neighbours}."
            )
        choices = {
            "kernel": ("gaussian", "cosine"),
            "measure": ("conditional", "guided"),
            "balance": ("normalised", "summed"),
            "unit": ("estimate", "noisy"),
        }
        for name, known in choices.items():
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"Vendi Guidance's {name} must be one of {', '.join(known)}, not {value}.")

    @classmethod
    def paper(cls, strength: float = 0.05) -> VendiSettings:
        """The published algorithm, as closely as a correction of the estimate allows.

        Differences: the gradient ends at the estimate of x0 instead of passing through the denoiser, and the estimate
        is not mixed with the noisy sample before it is decoded. The displacement of the sample is converted to one of
        the estimate for an Euler step, which is approximate for other samplers. Of a large bank only the most similar
        images count. The features are those that are connected, not necessarily CLIP.

        Args:
            strength: fraction of the noisy sample's norm; published values are 0.04 to 0.07.
        """
        return cls(
            alpha=1.0,
            beta=2.0,
            strength=strength,
            cfg_easing=0.0,
            kernel="cosine",
            balance="summed",
            unit="noisy",
            frequency=5,
            hold=False,
            in_batch=False,
            project=False,
            norm_clip=NormClip(math.inf, math.inf),
        )

    @property
    def is_off(self) -> bool:
        """Whether no estimate can ever be moved."""
        return self.strength == 0 and self.cfg_easing == 0
