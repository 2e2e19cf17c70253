"""The demo's page: both series, and below each guided image the references that it was pushed away from.

Annotated like figure 6 of arXiv 2410.06025.
"""

from __future__ import annotations

from PIL import Image, ImageDraw

from ..guidance.trace import Trace
from ..metrics.figures.canvas import FAINT, INK, PALETTE, letters, sheet, tile, to_pil
from .comparison import Request, Series

TILE = 112
GAP = 8
REFERENCES = 4
SMALL = (TILE - (REFERENCES - 1) * 4) // REFERENCES
HEADER = 34
WIDTH_OF_LETTERS = 560


def before_after_page(before: Series, after: Series, request: Request) -> Image.Image:
    """Lay out the page.

    Args:
        before: the unguided series.
        after: the guided series of the same seeds.
        request: what was sampled.

    Returns:
        A row of images per batch; below each guided image, small, up to four of its closest references.
    """
    plain = TILE + GAP
    annotated = plain + SMALL + GAP
    width = max(request.count * (TILE + GAP) + GAP, 640)
    page, draw = sheet(width, 2 * HEADER + request.batches * (plain + annotated) + 2 * GAP)
    what = f'"{request.prompt}", CFG {request.cfg:g}, {request.steps} steps'
    _heading(draw, 0, PALETTE[7], f"{what}: without guidance", width)
    top = HEADER + GAP
    for images in before.images:
        for column, image in enumerate(to_pil(images)):
            page.paste(tile(image, TILE), (GAP + column * plain, top))
        top += plain
    _heading(
        draw,
        top,
        PALETTE[0],
        "the same seeds with Sparse Repellency; below each image: what it was pushed away from",
        width,
    )
    top += HEADER + GAP
    known: dict[str, Image.Image] = {}
    for images, trace, names in zip(after.images, after.traces, after.names, strict=True):
        tiles = to_pil(images)
        companions = {f"batch:{index}": image for index, image in enumerate(tiles)}
        for column, image in enumerate(tiles):
            left = GAP + column * plain
            page.paste(tile(image, TILE), (left, top))
            _annotate(page, draw, trace, column, known | companions, left, top + TILE + 4)
        known |= dict(zip(names, tiles, strict=True))
        top += annotated
    return page


def _heading(draw: ImageDraw.ImageDraw, top: int, colour: str, text: str, width: int) -> None:
    draw.rectangle((0, top, width, top + HEADER - 4), fill=colour)
    draw.text((GAP, top + 6), text, font=letters(WIDTH_OF_LETTERS, 15), fill="#ffffff")


def _annotate(
    page: Image.Image,
    draw: ImageDraw.ImageDraw,
    trace: Trace,
    sample: int,
    images: dict[str, Image.Image],
    left: int,
    top: int,
) -> None:
    contacts = trace.contacts_of(sample)[:REFERENCES]
    if not contacts:
        draw.text((left, top), "nothing came close", font=letters(WIDTH_OF_LETTERS, 10), fill=FAINT)
    for place, contact in enumerate(contacts):
        corner = (left + place * (SMALL + 4), top)
        page.paste(tile(images[contact.reference], SMALL), corner)
        draw.rectangle((*corner, corner[0] + SMALL, top + SMALL), outline=INK)
