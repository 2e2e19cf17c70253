"""The rows of ``diversity-guidance bench vendi``."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ...embedded.schedule import sigma_at_percent
from ...guidance.limits import NormClip, SigmaInterval
from ...guidance.repellency.guidance import RECOMMENDED_END, RepellencySettings
from ...guidance.vendi.settings import VendiSettings

WINDOW = SigmaInterval(low=sigma_at_percent(RECOMMENDED_END))
DEFAULT = VendiSettings(interval=WINDOW)
GENTLE = VendiSettings(strength=0.1, interval=WINDOW)


@dataclass(frozen=True)
class Row:
    """One way of sampling.

    Attributes:
        name: of the row.
        part: of the benchmark.
        cfg: scale of classifier-free guidance.
        steps: evaluations of the model; 0 for those of the command line.
        guidance: its settings; None for no guidance.
        exemplars: number of real images of the prompt.
        biased: the only skin tone or vendor of the exemplars; "" for any.
        remembers: whether images are sampled one by one, each beside a bank of those before, not in a batch.
    """

    name: str
    part: str
    cfg: float = 5.0
    steps: int = 0
    guidance: VendiSettings | RepellencySettings | None = None
    exemplars: int = 0
    biased: str = ""
    remembers: bool = False


def rows() -> tuple[Row, ...]:
    """All rows of the benchmark."""
    repelled = RepellencySettings(interval=WINDOW)
    return (
        Row("none", "baselines"),
        Row("Vendi Guidance", "baselines", guidance=DEFAULT),
        Row("none", "baselines", cfg=2.0),
        Row("Vendi Guidance", "baselines", cfg=2.0, guidance=DEFAULT),
        Row("Vendi Guidance, strength 0.1", "baselines", cfg=2.0, guidance=GENTLE),
        Row("none", "baselines", cfg=1.0),
        Row("Sparse Repellency", "baselines", guidance=repelled),
        *(Row(f"{count} exemplars", "exemplars", guidance=DEFAULT, exemplars=count) for count in (2, 4, 10)),
        *(
            Row(f"every {often} steps", "frequency", guidance=replace(DEFAULT, frequency=often))
            for often in (2, 5, 10, 25)
        ),
        Row("4 dark-skin exemplars", "bias", guidance=DEFAULT, exemplars=4, biased="dark-skin"),
        Row("4 twitter exemplars", "bias", guidance=DEFAULT, exemplars=4, biased="twitter"),
        *(
            Row(name, "few steps", cfg=1.0, steps=steps, guidance=settings)
            for steps in (4, 8)
            for name, settings in (
                ("none", None),
                ("Vendi Guidance", DEFAULT),
                ("Vendi Guidance, strength 0.1", GENTLE),
            )
        ),
        Row("pushes alone, no CFG easing", "parts", guidance=replace(DEFAULT, cfg_easing=0.0)),
        Row("CFG easing alone, no pushes", "parts", guidance=replace(DEFAULT, strength=0.0)),
        Row("to the last step", "parts", guidance=replace(DEFAULT, interval=SigmaInterval())),
        Row("no norm clip", "parts", guidance=replace(DEFAULT, norm_clip=NormClip(math.inf, math.inf))),
        Row("one after another, none", "memory", remembers=True),
        Row("one after another, Vendi Guidance", "memory", guidance=DEFAULT, remembers=True),
        Row("paper preset", "memory", guidance=VendiSettings.paper(), remembers=True),
        Row("paper preset, 4 exemplars", "memory", guidance=VendiSettings.paper(), exemplars=4, remembers=True),
    )
