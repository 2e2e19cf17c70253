"""Distance of every image to its nearest protected one, before and after."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image

from ...guidance.repellency.protection_record import NearestReference
from ..measures.protected import ProtectedReport
from .canvas import FAINT, INK, NODE_WIDTH, PALETTE, chart, rendered

_TICKS = 12


def protected_chart(report: ProtectedReport, width: int = NODE_WIDTH) -> Image.Image:
    """Draw the distance of every image to its nearest protected one, and the shield's radius.

    Args:
        report: on the images.
        width: in pixels.

    Raises:
        ValueError: matplotlib is not installed.
    """
    figure, (panel,) = chart(width, 0.6)
    top = max((near.distance for near in (*report.images, *report.before) if _compared(near)), default=1.0)
    if report.radius > 0:
        panel.axhspan(0, report.radius, color=PALETTE[4], alpha=0.15, label="inside a shield")
        panel.axhline(report.radius, color=PALETTE[4], linewidth=1)
    if report.before:
        panel.plot(*_points(report.before), "o", color=FAINT, markerfacecolor="none", markersize=8, label="before")
    panel.plot(*_points(report.images), "D", color=PALETTE[0], markersize=5, label="after" if report.before else None)
    if report.before or report.radius > 0:
        panel.legend(fontsize=9, frameon=False, loc="upper left", bbox_to_anchor=(0, 1.15), ncols=3)
    count = max(len(report.images), len(report.before))
    panel.set_xticks(range(0, count, max(1, -(-count // _TICKS))))
    panel.set_ylim(0, 1.08 * max(top, report.radius) or 1.0)
    panel.set_xlabel("image", fontsize=9, color=INK)
    panel.set_ylabel("distance to the nearest", fontsize=9, color=INK)
    return rendered(figure)


def _compared(near: NearestReference) -> bool:
    return math.isfinite(near.distance)


def _points(images: Sequence[NearestReference]) -> tuple[list[int], list[float]]:
    compared = [near for near in images if _compared(near)]
    return [near.image for near in compared], [near.distance for near in compared]
