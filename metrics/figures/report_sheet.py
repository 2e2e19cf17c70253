"""The whole report as one image: conclusions, numbers, and figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PIL import Image, ImageDraw

from ..page import ReportFigure
from .canvas import INK, PALETTE, letters, sheet

SHEET_WIDTH = 1080
"""Pixels: two columns of figures as wide as a node."""

COLUMNS = 2

Row = tuple[str, ...]


def column_width(width: int = SHEET_WIDTH) -> int:
    """Pixels of a figure that is not wide."""
    return (width - (COLUMNS + 1) * _gap(width)) // COLUMNS


def full_width(width: int = SHEET_WIDTH) -> int:
    """Pixels of a wide figure."""
    return width - 2 * _gap(width)


def report_sheet(
    sentences: Sequence[str], rows: Sequence[Row], figures: Sequence[ReportFigure], width: int = SHEET_WIDTH
) -> Image.Image:
    """Draw the sheet.

    Args:
        sentences: conclusions; the first one is larger.
        rows: of a table: a name and one or more values; the first row is its head.
        figures: in order, wide ones drawn ``full_width`` and others ``column_width`` wide.
        width: in pixels.
    """
    inner = full_width(width)
    strips = [_text(sentence, inner, 15 if place == 0 else 13, INK) for place, sentence in enumerate(sentences)]
    if rows:
        strips.append(_table(rows, inner))
    narrow: list[Image.Image] = []
    for figure in figures:
        if not figure.wide:
            narrow.append(_figure(figure, column_width(width)))
            continue
        strips += [*_columns(narrow, width), _figure(figure, inner)]
        narrow = []
    strips += _columns(narrow, width)
    return _stacked(strips, width)


def verdict_card(title: str, sentence: str, shown: Image.Image, width: int) -> Image.Image:
    """One thing at the size of a node: a verdict in large letters, the sentence behind it, and what shows it.

    Args:
        title: the verdict in a few words.
        sentence: one sentence.
        shown: an image, ``full_width`` wide.
        width: in pixels.
    """
    inner = full_width(width)
    strips = [_text(title, inner, 26, PALETTE[0]), _text(sentence, inner, 14, INK), shown]
    return _stacked(strips, width)


def _stacked(strips: Sequence[Image.Image], width: int) -> Image.Image:
    """Strips of ``full_width``, one below the other."""
    gap = _gap(width)
    page, _ = sheet(width, sum(strip.height + gap for strip in strips) + gap)
    top = gap
    for strip in strips:
        page.paste(strip, (gap, top))
        top += strip.height + gap
    return page


def _gap(width: int) -> int:
    return width // 50


def _columns(figures: Sequence[Image.Image], width: int) -> list[Image.Image]:
    """Figures in columns as one strip, each below the shortest column so far; empty for none."""
    if not figures:
        return []
    gap = _gap(width)
    heights = [0] * COLUMNS
    places = []
    for figure in figures:
        column = heights.index(min(heights))
        places.append((column * (column_width(width) + gap), heights[column]))
        heights[column] += figure.height + gap
    strip, _ = sheet(full_width(width), max(heights) - gap)
    for figure, place in zip(figures, places, strict=True):
        strip.paste(figure, place)
    return [strip]


def _figure(figure: ReportFigure, width: int) -> Image.Image:
    """A figure between its title and its caption."""
    title, caption = _text(figure.title, width, 15, PALETTE[0]), _text(figure.caption, width, 11, INK)
    parts = [title, figure.image, caption]
    page, _ = sheet(width, sum(part.height for part in parts))
    top = 0
    for part in parts:
        page.paste(part, (0, top))
        top += part.height
    return page


def _text(text: str, width: int, points: float, colour: str) -> Image.Image:
    """A paragraph of this width, in letters as large as in a figure on a node."""
    font = letters(SHEET_WIDTH // COLUMNS, points)
    _, pen = sheet(1, 1)
    lines = _wrapped(text, width, lambda line: pen.textlength(line, font=font))
    line = round(1.4 * points)
    page, draw = sheet(width, len(lines) * line + line // 3)
    for place, content in enumerate(lines):
        draw.text((0, place * line), content, font=font, fill=colour)
    return page


def _wrapped(text: str, width: int, length_of: Callable[[str], float]) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and length_of(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _table(rows: Sequence[Row], width: int) -> Image.Image:
    font = letters(SHEET_WIDTH // COLUMNS, 12)
    line = 20
    page, draw = sheet(width, len(rows) * line + 4)
    values = len(rows[0]) - 1
    step = (width // 2) // max(values, 1)
    for place, (name, *found) in enumerate(rows):
        top = place * line
        colour = PALETTE[0] if place == 0 else INK
        draw.text((0, top), name, font=font, fill=colour)
        for column, value in enumerate(found):
            draw.text((width // 2 + column * step, top), value, font=font, fill=colour)
        _rule(draw, top + line - 2, width)
    return page


def _rule(draw: ImageDraw.ImageDraw, top: int, width: int) -> None:
    draw.line((0, top, width, top), fill="#dddddd")
