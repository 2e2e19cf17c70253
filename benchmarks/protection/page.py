"""A figure of images inside a shield: in each column the protected image, and what each row sampled."""

from __future__ import annotations

from collections.abc import Mapping

from PIL import Image
from torch import Tensor

from ...metrics.figures.canvas import (
    FAINT,
    INK,
    letters,
    sheet,
    tile,
    to_pil,
)

SIDE = 80
GAP = 6
HEADER = 20
LETTERS = 512


def pushed_page(rows: Mapping[str, Tensor], captions: Mapping[str, list[str]]) -> Image.Image:
    """Draw the page.

    Args:
        rows: by name, images (n, 3, H, W) in 0 to 1, one per column.
        captions: by the name of a row, a short text for each image.
    """
    count = max(len(images) for images in rows.values())
    height = HEADER + SIDE + HEADER
    page, draw = sheet(count * (SIDE + GAP) + GAP, len(rows) * height + GAP)
    for number, (name, images) in enumerate(rows.items()):
        top = number * height
        draw.text((GAP, top + 2), name, font=letters(LETTERS, 13), fill=INK)
        for column, image in enumerate(to_pil(images)):
            corner = (GAP + column * (SIDE + GAP), top + HEADER)
            page.paste(tile(image, SIDE), corner)
            if name in captions:
                place = (corner[0], corner[1] + SIDE + 2)
                draw.text(place, captions[name][column], font=letters(LETTERS, 11), fill=FAINT)
    return page
