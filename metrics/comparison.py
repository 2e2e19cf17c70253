"""Compare the diversity of two sets of images, in sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from .measures.measure import Measure
from .measures.vendi_scores import equal_vendi
from .report import DiversityReport
from .summary import headline


def compare(before: DiversityReport, after: DiversityReport) -> str:
    """Compare by the mean distance, which does not grow with the number of images, as a Vendi Score does.

    Args:
        before: on the set to compare with.
        after: on the other set, in the same feature space.

    Raises:
        ValueError: the reports are of different feature spaces.
    """
    if before.space != after.space:
        raise ValueError(f"Numbers of {before.space} and of {after.space} cannot be compared.")
    old, new = before["mean_distance"], after["mean_distance"]
    if old.value is None or new.value is None:
        return "Too few images to tell whether anything has changed: compare at least two with two."
    change = new.value - old.value
    how = "more than" if change > 0 else "less than" if change < 0 else "as much as"
    counts = _different(after), _different(before)
    told = (
        f"The images differ {how} before: their mean distance is {new.value:.3g} instead of {old.value:.3g}, and "
        f"{counts[0]} are different images{', as before' if counts[0] == counts[1] else f' instead of {counts[1]}'}."
    )
    if 0 < abs(change) < math.hypot(_half_width(old), _half_width(new)):
        told += " By the distance alone this may be chance."
    return told


def sentences(
    report: DiversityReport,
    before: DiversityReport | None = None,
    names: Sequence[str] | None = None,
    names_before: Sequence[str] | None = None,
) -> list[str]:
    """The conclusions of a report, the most important sentence first.

    Args:
        report: on the images.
        before: on images to compare with, in the same feature space.
        names: of the images; None to number them from 0.
        names_before: of those to compare with.
    """
    if before is None:
        return [headline(report, names)]
    told = headline(before, names_before), headline(report, names)
    return [compare(before, report), f"Before: {told[0]}", f"After: {told[1]}"]


def compare_equally_many(before: Tensor, after: Tensor) -> str:
    """Compare two sets of different sizes by their Vendi Scores among equally many images; "" where sizes are equal.

    Args:
        before: (n, d) unit rows, NaN for an image that could not be measured.
        after: (m, d) unit rows.
    """
    before, after = (rows[rows.isfinite().all(1)] for rows in (before, after))
    size = min(len(before), len(after))
    if len(before) == len(after) or size < 2:
        return ""
    return (
        f"There are {len(before)} images before and {len(after)} after: among {size} of each, chosen at random with "
        f"seed 0, the effective number is {equal_vendi(before, size):.3g} before and {equal_vendi(after, size):.3g} "
        "after."
    )


def _half_width(measure: Measure) -> float:
    """Half of the interval, whose ends may be clipped to the measure's range; infinity if it is unknown."""
    if measure.value is None or measure.lower is None or measure.upper is None:
        return math.inf
    return max(measure.upper - measure.value, measure.value - measure.lower)


def _different(report: DiversityReport) -> str:
    return f"{len(report.duplicates.kept)} of {report.images - len(report.unmeasured)}"
