"""Presets: named settings for runs with and without classifier-free guidance (CFG).

Distilled models are sampled at CFG 1, where there is no CFG to ease. Every preset therefore has settings for both kinds
of run; a guidance chooses at the first evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from .repellency.settings import RepellencySettings
from .vendi.settings import VendiSettings

Settings = TypeVar("Settings", RepellencySettings, VendiSettings)


SUBTLE, BALANCED, STRONG, PAPER = "subtle", "balanced", "strong", "paper"
PRESETS = (SUBTLE, BALANCED, STRONG)

MAX_SILENT = 0.5
"""Images lose the prompt if it is left out for longer than this fraction of the schedule."""


@dataclass(frozen=True)
class Preset(Generic[Settings]):
    """A preset of a method for one kind of run.

    Attributes:
        settings: of the method; the interval comes from the node.
        silent: fraction of the schedule in which the prompt is left out (see ``prompt_easing``).
        end: fraction of the schedule at which the method ends, unless the node ends it earlier.
    """

    settings: Settings
    silent: float = 0.0
    end: float = 1.0

    def changed(self, **values: Any) -> Preset[Settings]:
        """The preset with other settings.

        A ``cfg_easing`` replaces all easing, including that of the prompt. Another radius removes the early end.

        Raises:
            ValueError: a value is out of its range.
        """
        settings = replace(self.settings, **values)
        keeps_radius = "radius" not in values and not values.get("absolute_radius")
        silent = 0.0 if "cfg_easing" in values else self.silent
        return Preset(settings, silent, self.end if keeps_radius else 1.0)

    def scaled(self, factor: float) -> Preset[Settings]:
        """The preset with strength, CFG easing and silence multiplied by a factor; 0 switches the method off.

        Raises:
            ValueError: the factor is negative or not finite.
        """
        settings = replace(
            self.settings, strength=self.settings.strength * factor, cfg_easing=self.settings.cfg_easing * factor
        )
        return replace(self, settings=settings, silent=min(self.silent * factor, MAX_SILENT))


# With CFG, then distilled; docs/benchmark.md has the results of each. Wide shields must end early.
_REPELLENCY: Mapping[str, tuple[Preset[RepellencySettings], Preset[RepellencySettings]]] = {
    SUBTLE: (Preset(RepellencySettings(radius=0.1), 0.15), Preset(RepellencySettings(radius=0.3), 0.25, 0.6)),
    BALANCED: (Preset(RepellencySettings(), 0.3), Preset(RepellencySettings(radius=0.3), 0.4, 0.6)),
    STRONG: (Preset(RepellencySettings(radius=0.25), 0.3), Preset(RepellencySettings(radius=0.5), 0.4, 0.6)),
}
_VENDI: Mapping[str, tuple[Preset[VendiSettings], Preset[VendiSettings]]] = {
    SUBTLE: (
        Preset(VendiSettings(strength=0.1, cfg_easing=0.5), 0.15),
        Preset(VendiSettings(strength=0.1), 0.25),
    ),
    BALANCED: (Preset(VendiSettings(), 0.3), Preset(VendiSettings(strength=0.1), 0.4)),
    STRONG: (Preset(VendiSettings(strength=0.3), 0.3), Preset(VendiSettings(strength=0.2), 0.4)),
    PAPER: (Preset(VendiSettings.paper()), Preset(VendiSettings.paper())),
}


def repellency_preset(name: str, distilled: bool) -> Preset[RepellencySettings]:
    """The preset of Sparse Repellency with a name of ``PRESETS``.

    Args:
        name: of the preset.
        distilled: whether the run is without classifier-free guidance.

    Raises:
        ValueError: there is no such preset.
    """
    return _row(_REPELLENCY, name)[distilled]


def vendi_preset(name: str, distilled: bool) -> Preset[VendiSettings]:
    """The same for Vendi Guidance, with "paper" for the published algorithm."""
    return _row(_VENDI, name)[distilled]


def _row(
    table: Mapping[str, tuple[Preset[Settings], Preset[Settings]]], name: str
) -> tuple[Preset[Settings], Preset[Settings]]:
    if name not in table:
        raise ValueError(f'There is no preset "{name}". Choose one of: {", ".join(table)}.')
    return table[name]
