"""Modes against fidelity and cost: one marker per row, one line per method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image

from ...metrics.figures.canvas import PALETTE, chart, rendered

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .points import Point

WIDTH = 1400
WORST = 0.1
"""Loss of fidelity beyond which rows lie outside the first panel."""

MARKS = "osD^vP*X<>"


def plot(points: Sequence[Point]) -> Image.Image:
    """A figure of two panels: modes against fidelity, and against seconds per image."""
    figure, panels = chart(WIDTH, aspect=1.5, rows=2, shared=False)
    methods = dict.fromkeys(_method(point) for point in points)
    for panel, along, label in zip(panels, ("fidelity", "seconds"), ("fidelity", "seconds an image"), strict=True):
        for number, method in enumerate(methods):
            _line(panel, method, [point for point in points if _method(point) == method], along, number)
        panel.set_xlabel(label)
        panel.set_ylabel("known modes reached")
    best = max(point.fidelity for point in points)
    if min(point.fidelity for point in points) < best - WORST:
        panels[0].set_xlim(best - WORST, best + WORST / 20)
    panels[0].legend(fontsize=4.6, ncols=3, frameon=False, loc="lower left", bbox_to_anchor=(-0.1, 1))
    return rendered(figure)


def _method(point: Point) -> str:
    return point.name.split(",")[0]


def _line(panel: Axes, method: str, points: list[Point], along: str, number: int) -> None:
    colour, mark = PALETTE[number % len(PALETTE)], MARKS[number // len(PALETTE) % len(MARKS)]
    panel.errorbar(
        [getattr(point, along) for point in points],
        [point.modes for point in points],
        yerr=[point.modes_error for point in points],
        color=colour,
        marker=mark,
        markersize=9 if method == "recommended" else 4,
        linewidth=0.8,
        label=method,
    )
