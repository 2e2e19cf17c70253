"""Two sets of images side by side, such as without and with guidance, with the main numbers of each."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from ..report import DiversityReport
from ..summary import value_text
from .canvas import INK, NODE_WIDTH, PALETTE, letters, sheet
from .grid import image_grid

_LINES = ("vendi_1", "mean_distance", "different_images", "recall")
_SHORT = {
    "vendi_1": "Effective number",
    "mean_distance": "Mean distance",
    "different_images": "Different images",
    "recall": "Recall",
}


def side_by_side(
    names: tuple[str, str],
    images: tuple[Sequence[Image.Image], Sequence[Image.Image]],
    reports: tuple[DiversityReport, DiversityReport],
    width: int = NODE_WIDTH,
) -> Image.Image:
    """Draw two grids, each with its main numbers.

    Args:
        names: of the sets, such as "without" and "with guidance".
        images: of each set.
        reports: on each set, in the same feature space.
        width: in pixels.

    Raises:
        ValueError: the reports are of different feature spaces.
    """
    if reports[0].space != reports[1].space:
        raise ValueError(f"Numbers of {reports[0].space} and of {reports[1].space} cannot be compared.")
    gap = max(4, width // 50)
    half = (width - gap) // 2
    line = round(17 * width / NODE_WIDTH)
    grids = [
        image_grid(each, report.duplicates, half, caption=False) for each, report in zip(images, reports, strict=True)
    ]
    rows = [name for name in _LINES if all(any(m.name == name for m in report.measures) for report in reports)]
    page, draw = sheet(width, round(1.6 * line) + max(grid.height for grid in grids) + (len(rows) + 1) * line)
    for place, (name, grid, report) in enumerate(zip(names, grids, reports, strict=True)):
        left = place * (half + gap)
        draw.rectangle((left, 0, left + half, round(1.4 * line)), fill=PALETTE[0 if place else 7])
        draw.text((left + gap, line // 5), name, font=letters(width, 15), fill="#ffffff")
        page.paste(grid, (left, round(1.6 * line)))
        for row, measure in enumerate(rows):
            top = page.height - (len(rows) - row) * line - line // 2
            draw.text(
                (left + 2, top), f"{_SHORT[measure]}: {value_text(report[measure])}", font=letters(width, 11), fill=INK
            )
    return page
