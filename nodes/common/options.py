"""Options nodes: single values that replace those of a preset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io

from ...guidance.limits import NormClip
from .steering import UNLIMITED, check_numbers, unlimited

AS_PRESET = -1.0
"""Number that keeps the preset's value."""

PRESET = "preset"
"""Choice that keeps the preset's value."""

Options = Mapping[str, Any]
"""Values by the name of the replaced setting."""


def number(name: str, most: float, step: float, tooltip: str) -> io.Input:
    """A widget for a number of at least 0, or the preset's."""
    words = f"{tooltip} {AS_PRESET:g} keeps the preset's value."
    return io.Float.Input(name, default=AS_PRESET, min=AS_PRESET, max=most, step=step, tooltip=words, optional=True)


def count(name: str, most: int, tooltip: str) -> io.Input:
    """A widget for a whole number of at least 1, or the preset's."""
    words = f"{tooltip} {AS_PRESET:g} keeps the preset's value."
    return io.Int.Input(name, default=int(AS_PRESET), min=int(AS_PRESET), max=most, tooltip=words, optional=True)


def choice(name: str, options: list[str], tooltip: str) -> io.Input:
    """A widget for one of several values, or the preset's."""
    words = f"{tooltip} {PRESET} keeps the preset's choice."
    return io.Combo.Input(name, options=[PRESET, *options], default=PRESET, tooltip=words, optional=True)


def norm_clip() -> io.Input:
    """The widget for the longest push."""
    return number(
        "norm_clip",
        UNLIMITED,
        0.01,
        "The largest push, relative to the change that the model itself makes and to the norm of its estimate. "
        f"No limit at {UNLIMITED:g}.",
    )


def replacing(**values: Any) -> Options:
    """The values that replace a preset's."""
    given = {name: value for name, value in values.items() if value not in (AS_PRESET, PRESET)}
    if "norm_clip" in given:
        given["norm_clip"] = NormClip(unlimited(given["norm_clip"]), unlimited(given["norm_clip"]))
    return given


def check_replacing(defaults: Any, **values: float | None) -> bool:
    """Validate the values of an options node, as ``check_numbers`` does."""
    return check_numbers(defaults, **replacing(**{name: value for name, value in values.items() if value is not None}))
