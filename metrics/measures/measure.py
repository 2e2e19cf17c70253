"""One number of the report, and what it was computed on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Measure:
    """A number and what it was computed on.

    Attributes:
        name: what was measured, such as ``vendi_1`` or ``recall``.
        value: None if it is not defined; ``note`` then says why.
        space: tag of the feature space, "" for plain counts.
        images: number of images it was computed on.
        references: number of reference images, 0 without references.
        lower: lower end of the interval, None if the uncertainty is unknown.
        upper: upper end of the interval.
        interval: kind of the interval, such as "95 % jackknife interval".
        parameters: settings that the number depends on, such as the number of neighbours.
        note: a sentence for the reader: too few images, a sample instead of all, no value.
    """

    name: str
    value: float | None
    space: str
    images: int
    references: int = 0
    lower: float | None = None
    upper: float | None = None
    interval: str = ""
    parameters: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


def named(measures: Sequence[Measure], name: str) -> Measure:
    """The measure of a name.

    Raises:
        KeyError: there is none.
    """
    for candidate in measures:
        if candidate.name == name:
            return candidate
    raise KeyError(name)
