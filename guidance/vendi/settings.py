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
        alpha: weight of the push that raises the Vendi Score of bank and batch; 0 for none.
        beta: weight of the pull that lowers the Vendi Score of the exemplars and each picture; 0 for none.
        strength: length of a full push, as a share of the typical distance between unrelated pictures, which is
            measured from the estimates ("estimate"), or of the length of the noisy sample ("noisy", the paper).
            0 switches the method off.
        cfg_easing: how far classifier-free guidance is eased for pictures that repeat others: the estimate goes this
            factor times the redundancy (at most all) of the way to the conditional one. 0 is the paper.
        order: of the Vendi Score, q > 0; small orders count rare pictures fully, 2 needs no spectrum.
        kernel: "gaussian" of the features' distance, or "cosine" (the paper).
        bandwidth: width of the Gaussian kernel, in units of the distance between unrelated features; 0 for the median
            rule.
        measure: which estimate features are taken of: the "conditional" one before classifier-free guidance or the
            "guided" one. Without classifier-free guidance they are the same.
        balance: "apart" gives both directions a length of their own, which depends on how redundant or how strange a
            picture is and not on the size of bank and exemplars; "together" adds the gradients as they are and then
            fixes the length of the sum (the paper).
        unit: what ``strength`` is a share of.
        frequency: measure at every how manieth step of the schedule.
        hold: whether what was measured counts until the next step that measures; otherwise only steps that measure
            act (the paper).
        neighbours: how many remembered pictures, the most similar ones, the score is taken of; order 2 takes all of
            them, and so does the cosine kernel at order 1 where prompts do not count.
        in_batch: whether the pictures of a batch are pushed apart together; otherwise each only from the bank.
        project: whether the part of the push along the model's own update is left out.
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
    balance: Literal["apart", "together"] = "apart"
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
            "balance": ("apart", "together"),
            "unit": ("estimate", "noisy"),
        }
        for name, known in choices.items():
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"Vendi Guidance's {name} must be one of {', '.join(known)}, not {value}.")

    @classmethod
    def paper(cls, strength: float = 0.05) -> VendiSettings:
        """The published algorithm, as closely as a correction of the estimate allows.

        Where it cannot follow: the gradient stops at the estimate of x0 instead of going on through the denoiser, and
        the estimate is not mixed with the noisy sample before it is decoded. The displacement of the sample is divided
        by what one Euler step makes of a displaced estimate, which other samplers only come near. Of a large bank only
        the most similar pictures count. The features are those that are wired, not necessarily CLIP.

        Args:
            strength: share of the noisy sample's length; published are 0.04 to 0.07.
        """
        return cls(
            alpha=1.0,
            beta=2.0,
            strength=strength,
            cfg_easing=0.0,
            kernel="cosine",
            balance="together",
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
