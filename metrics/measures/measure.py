"""One number of the report, and everything that one must know to read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Measure:
    """A number and what it was computed on.

    Attributes:
        name: what was measured, such as ``vendi_1`` or ``recall``.
        value: None where it is not defined; ``note`` then says why.
        space: tag of the feature space, "" for plain counts.
        pictures: how many pictures it was computed on.
        references: how many reference pictures, 0 where none are involved.
        lower: lower end of the interval, None where the uncertainty is not known.
        upper: its upper end.
        interval: what the interval is, such as "95 % jackknife interval".
        parameters: settings the number depends on, such as the number of neighbours.
        note: a sentence for the reader: too few pictures, a sample in place of all, no value.
    """

    name: str
    value: float | None
    space: str
    pictures: int
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
