"""Settings by name: the one place of the numbers that the nodes offer, for models with and without CFG.

Distilled models are sampled at CFG 1. There is no classifier-free guidance to ease then, so every preset has settings
for each kind of run; a guidance that holds both chooses at the first evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from .repellency.settings import RepellencySettings
from .vendi.settings import VendiSettings

Settings = TypeVar("Settings", RepellencySettings, VendiSettings)


SUBTLE, BALANCED, STRONG, PAPER = "subtle", "balanced", "strong", "paper"
PRESETS = (SUBTLE, BALANCED, STRONG)

# With CFG, then distilled. "balanced" is what the pages in docs/ recommend; the others are steps down and up from it.
_REPELLENCY: Mapping[str, tuple[RepellencySettings, RepellencySettings]] = {
    SUBTLE: (RepellencySettings(radius=0.1), RepellencySettings(radius=0.1)),
    BALANCED: (RepellencySettings(), RepellencySettings(radius=0.15)),
    STRONG: (RepellencySettings(radius=0.4), RepellencySettings(radius=0.3)),
}
_VENDI: Mapping[str, tuple[VendiSettings, VendiSettings]] = {
    SUBTLE: (VendiSettings(strength=0.1, relaxation=0.5), VendiSettings(strength=0.05)),
    BALANCED: (VendiSettings(), VendiSettings(strength=0.1)),
    STRONG: (VendiSettings(strength=0.4, relaxation=2.0), VendiSettings(strength=0.2)),
    PAPER: (VendiSettings.paper(), VendiSettings.paper()),
}


def repellency_preset(name: str, distilled: bool) -> RepellencySettings:
    """How Sparse Repellency acts under a name of ``PRESETS``.

    Args:
        name: of the preset.
        distilled: whether the run is without classifier-free guidance.

    Raises:
        ValueError: there is no such preset.
    """
    return _row(_REPELLENCY, name)[distilled]


def vendi_preset(name: str, distilled: bool) -> VendiSettings:
    """How Vendi Guidance acts under a name of ``PRESETS``, or "paper" for the published algorithm.

    Args:
        name: of the preset.
        distilled: whether the run is without classifier-free guidance.

    Raises:
        ValueError: there is no such preset.
    """
    return _row(_VENDI, name)[distilled]


def scaled(settings: Settings, factor: float) -> Settings:
    """Settings whose pushes and easing of CFG are multiplied by a factor; 0 switches the method off.

    Raises:
        ValueError: the factor is negative or not finite.
    """
    return replace(settings, strength=settings.strength * factor, relaxation=settings.relaxation * factor)


def _row(table: Mapping[str, tuple[Settings, Settings]], name: str) -> tuple[Settings, Settings]:
    if name not in table:
        raise ValueError(f'There is no preset "{name}". Choose one of: {", ".join(table)}.')
    return table[name]
