"""The images in a grid, near-duplicates framed in the colour and marked with the letter of their cluster."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw

from ..measures.pairs import NearDuplicates
from .canvas import FAINT, INK, NODE_WIDTH, PALETTE, PAPER, label, letters, sheet, tile

SHOWN = 64
"""Largest number of images in a grid; of larger sets, those with near-duplicates are shown first."""


REPEATS = "is repeated by", "more images are repeated."
SAME_FACE = "same face as", "more sets of images share a face."
"""What is said of clusters."""

BESIDE = 4
"""Images of a cluster that are drawn, the first of them left."""


def image_grid(
    images: Sequence[Image.Image], duplicates: NearDuplicates, width: int = NODE_WIDTH, caption: bool = True
) -> Image.Image:
    """Draw the grid.

    Args:
        images: all images, in the order of the report.
        duplicates: near-duplicates among them.
        width: in pixels.
        caption: whether a line below counts the near-duplicates.

    Returns:
        The grid: every image with its number, those of a cluster also with the cluster's letter; rejected images are
        faded and crossed out.
    """
    shown = shown_in_grid(len(images), duplicates)
    return draw_grid([images[index] for index in shown], shown, duplicates, width, len(images) if caption else None)


def shown_in_grid(count: int, duplicates: NearDuplicates) -> list[int]:
    """Indices of the images that a grid shows."""
    if count <= SHOWN:
        return list(range(count))
    clustered = [index for cluster in duplicates.clusters for index in cluster]
    others = [index for index in duplicates.kept if index not in set(clustered)]
    return sorted([*clustered, *others][:SHOWN])


def draw_grid(
    images: Sequence[Image.Image], numbers: Sequence[int], duplicates: NearDuplicates, width: int, total: int | None
) -> Image.Image:
    """Draw a grid of some of the images.

    Args:
        images: the images to be shown.
        numbers: the index of each in the report.
        duplicates: near-duplicates among all images of the report.
        width: in pixels.
        total: images in the report, for the line below; None for no such line.
    """
    columns = max(1, math.ceil(math.sqrt(len(images))))
    gap = max(2, width // 100)
    side = (width - gap * (columns + 1)) // columns
    rows = math.ceil(len(images) / columns)
    font, footer = letters(width, min(13, 60 / columns + 4)), letters(width, 12)
    line = round(18 * width / NODE_WIDTH)
    page, draw = sheet(width, rows * (side + gap) + gap + (0 if total is None else 2 * line))
    clusters = {index: place for place, cluster in enumerate(duplicates.clusters) for index in cluster}
    rejected = set(duplicates.rejected)
    for place, (image, number) in enumerate(zip(images, numbers, strict=True)):
        left = gap + (place % columns) * (side + gap)
        top = gap + (place // columns) * (side + gap)
        square = tile(image, side)
        if number in rejected:
            square = Image.blend(square, Image.new("RGB", square.size, PAPER), 0.55)
        page.paste(square, (left, top))
        colour = FAINT
        name = str(number)
        if number in clusters:
            colour = PALETTE[clusters[number] % len(PALETTE)]
            name += f" {_letter(clusters[number])}"
            _frame(draw, left, top, side, gap, colour)
        if number in rejected:
            draw.line((left, top + side, left + side, top), fill=colour, width=gap)
        label(draw, (left, top), name, font, colour)
    if total is not None:
        draw.text((gap, page.height - 2 * line), _footer(len(images), total, duplicates), font=footer, fill=INK)
    return page


def draw_clusters(
    images: Mapping[int, Image.Image] | Sequence[Image.Image],
    clusters: Sequence[Sequence[int]],
    width: int,
    rows: int,
    words: tuple[str, str],
) -> Image.Image:
    """Draw which images belong together, side by side.

    Args:
        images: by their index in the report.
        clusters: indices of images that belong together, at least one cluster of two.
        width: in pixels.
        rows: at most so many.
        words: between the first image of a cluster and the others, and after the number of clusters that are left out.

    Returns:
        A row for each cluster: left its first image, right of it up to three others.
    """
    shown = clusters[:rows]
    most = min(BESIDE, max(len(cluster) for cluster in shown)) - 1
    gap = max(4, width // 40)
    room = width // 5
    side = min((width - room - (most + 2) * gap) // (most + 1), width // 3)
    font, small = letters(width, 13), letters(width, 11)
    line = round(18 * width / NODE_WIDTH)
    page, draw = sheet(width, len(shown) * (side + gap) + gap + (line if len(clusters) > rows else 0))
    for row, (original, *repeats) in enumerate(shown):
        top = gap + row * (side + gap)
        page.paste(tile(images[original], side), (gap, top))
        label(draw, (gap, top), str(original), font, PALETTE[row % len(PALETTE)])
        draw.text((2 * gap + side, top + side // 2 - line), words[0], font=small, fill=INK)
        for place, image in enumerate(repeats[:most]):
            left = gap + side + room + gap + place * (side + gap)
            page.paste(tile(images[image], side), (left, top))
            label(draw, (left, top), str(image), font, PALETTE[row % len(PALETTE)])
        if len(repeats) > most:
            more = f"and {len(repeats) - most} more"
            draw.text((2 * gap + side, top + side // 2 + line // 4), more, font=small, fill=INK)
    if len(clusters) > rows:
        draw.text((gap, page.height - line), f"{len(clusters) - rows} {words[1]}", font=small, fill=INK)
    return page


def _frame(draw: ImageDraw.ImageDraw, left: int, top: int, side: int, gap: int, colour: str) -> None:
    draw.rectangle((left - gap, top - gap, left + side + gap - 1, top + side + gap - 1), outline=colour, width=gap)


def _letter(cluster: int) -> str:
    """A, B ... Z, AA, AB ..."""
    name = ""
    cluster += 1
    while cluster:
        cluster, digit = divmod(cluster - 1, 26)
        name = chr(ord("A") + digit) + name
    return name


def _footer(shown: int, total: int, duplicates: NearDuplicates) -> str:
    parts = [f"{total} images" if shown == total else f"{shown} of {total} images"]
    if duplicates.rejected:
        parts.append(f"{len(duplicates.rejected)} struck out repeat the one with the same letter")
    else:
        parts.append("no near-duplicates")
    return ", ".join(parts) + "."
