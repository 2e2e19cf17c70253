"""Shared by all figures: sizes, colours, fonts, tiles, and rendering of matplotlib figures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NODE_WIDTH = 512
"""Width of a figure on a node, in pixels; letters and lines scale with the width."""

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442", "#000000")
"""Colours that remain distinct under every colour blindness (Okabe & Ito 2008); no figure relies on colour alone."""

INK = "#1a1a1a"
PAPER = "#ffffff"
FAINT = "#8a8a8a"

_INCHES = NODE_WIDTH / 100


def chart(width: int, aspect: float = 0.75, rows: int = 1, *, shared: bool = True) -> tuple[Figure, list[Axes]]:
    """An empty chart with the same proportions at every width.

    Args:
        width: in pixels.
        aspect: height over width.
        rows: number of panels, one below the other.
        shared: whether they share a horizontal axis.

    Raises:
        ValueError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ValueError(f"The charts need {error.name}: pip install matplotlib brings it.") from error
    figure = Figure(figsize=(_INCHES, _INCHES * aspect), dpi=width / _INCHES, layout="constrained", facecolor=PAPER)
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, 1, sharex=shared, squeeze=False)[:, 0]
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=9, colors=INK)
    return figure, list(panels)


def rendered(figure: Figure) -> Image.Image:
    """Render a chart to an image."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    with Image.open(stream) as image:
        return image.convert("RGB")


def sheet(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """An empty page to draw on."""
    page = Image.new("RGB", (width, max(1, height)), PAPER)
    return page, ImageDraw.Draw(page)


def letters(width: int, points: float = 13) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font for a figure of this width.

    Args:
        width: of the figure, in pixels.
        points: height in pixels at the width of a node.
    """
    return ImageFont.load_default(max(8.0, points * width / NODE_WIDTH))


def tile(image: Image.Image, side: int) -> Image.Image:
    """Fit an image into a square, keeping its aspect ratio; small images are enlarged without blur."""
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    filtered = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    fitted = Image.new("RGB", (side, side), PAPER)
    fitted.paste(image.convert("RGB").resize(size, filtered), ((side - size[0]) // 2, (side - size[1]) // 2))
    return fitted


def label(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    text: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    colour: str,
) -> None:
    """Write text on a filled box, dark on light colours and light on dark ones."""
    _, top, right, bottom = draw.textbbox(corner, text, font=font)
    margin = max(1, (bottom - top) // 4)
    draw.rectangle((corner[0], corner[1], right + 2 * margin, bottom + margin), fill=colour)
    draw.text((corner[0] + margin, corner[1]), text, font=font, fill=_contrast(colour))


def to_pil(images: Tensor | Sequence[Tensor]) -> list[Image.Image]:
    """Convert images (C, H, W) in 0 to 1 to Pillow images; values that are not finite become black."""
    converted = []
    for image in images:
        values = torch.nan_to_num(image.detach().to("cpu", torch.float32), nan=0, posinf=0, neginf=0)
        levels = (values[:3].clamp(0, 1) * 255).round().to(torch.uint8)
        converted.append(Image.fromarray(levels.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()))
    return converted


def _contrast(colour: str) -> str:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return INK if 0.3 * red + 0.59 * green + 0.11 * blue > 140 else PAPER
