"""The references that pushed each image, as thumbnails (arXiv 2410.06025, figure 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw

from ...guidance.trace import Trace
from .canvas import FAINT, INK, NODE_WIDTH, PALETTE, letters, sheet, tile

SHOWN = 8
_REFERENCES = 4


def repelled_from(
    trace: Trace,
    images: Sequence[Image.Image],
    thumbnails: Mapping[str, Image.Image],
    width: int = NODE_WIDTH,
) -> Image.Image:
    """Draw a row for each image: the image, and right of it the references that pushed it, nearest first.

    Args:
        trace: of the run that made the images.
        images: in the order of the batch.
        thumbnails: of references, by their identity in the trace. Other images of the batch need none; the name stands
            for other references without one.
        width: in pixels.

    Returns:
        The rows of the first eight images.
    """
    side = width // (_REFERENCES + 2)
    gap = side // 10
    line = round(16 * width / NODE_WIDTH)
    font = letters(width, 11)
    rows = min(len(images), SHOWN)
    page, draw = sheet(width, 2 * line + rows * (side + line + gap) + line)
    draw.text((gap, line // 3), "image", font=letters(width, 13), fill=INK)
    draw.text((2 * side, line // 3), "was pushed away from (nearest first)", font=letters(width, 13), fill=INK)
    for row in range(rows):
        top = 2 * line + row * (side + line + gap)
        page.paste(tile(images[row], side), (gap, top))
        draw.text((gap, top + side), f"{row}", font=font, fill=INK)
        contacts = trace.contacts_of(row)
        if not contacts:
            draw.text((2 * side, top + side // 2), "nothing came close", font=font, fill=FAINT)
        else:
            _arrow(draw, gap + side + gap // 2, 2 * side - gap // 2, top + side // 2, max(2, width // 200))
        for place, contact in enumerate(contacts[:_REFERENCES]):
            left = 2 * side + place * side
            reference = _thumbnail(contact.reference, images, thumbnails)
            inner = side - gap
            if reference is None:
                draw.rectangle((left, top, left + inner, top + inner), outline=FAINT, width=1)
                draw.text((left + 2, top + inner // 2), contact.reference[: max(4, inner // 8)], font=font, fill=FAINT)
            else:
                page.paste(tile(reference, inner), (left, top))
            draw.text((left, top + side), f"{contact.distance:.3g}", font=font, fill=INK)
    left_out = f" First {rows} of {len(images)} images." if len(images) > rows else ""
    draw.text((gap, page.height - line), f"Numbers: distance before the push.{left_out}", font=font, fill=INK)
    return page


def _thumbnail(
    reference: str, images: Sequence[Image.Image], thumbnails: Mapping[str, Image.Image]
) -> Image.Image | None:
    if reference in thumbnails:
        return thumbnails[reference]
    source, _, number = reference.partition(":")
    if source == "batch" and number.isdigit() and int(number) < len(images):
        return images[int(number)]
    return None


def _arrow(draw: ImageDraw.ImageDraw, left: int, right: int, middle: int, thickness: int) -> None:
    """From the reference to the image: the direction of the push."""
    head = 4 * thickness
    draw.line((left + head, middle, right, middle), fill=PALETTE[4], width=thickness)
    draw.polygon([(left, middle), (left + head, middle - head), (left + head, middle + head)], fill=PALETTE[4])
