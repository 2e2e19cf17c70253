"""Centroids of groups as points whose distances are those in a model's features (arXiv 2410.11646: they embed in few
dimensions)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from .canvas import FAINT, INK, NODE_WIDTH, PALETTE, letters, sheet


def centroid_map(coordinates: Tensor, shares: Tensor, names: Sequence[str], width: int = NODE_WIDTH) -> Image.Image:
    """Draw the map; one unit of length is the same along both axes.

    Args:
        coordinates: shape (N, d), axes by falling variance.
        shares: each axis' share of the variance, shape (d,).
        names: of the groups.
        width: in pixels.
    """
    line = round(17 * width / NODE_WIDTH)
    font = letters(width, 12)
    height = round(0.75 * width)
    page, draw = sheet(width, height + 3 * line)
    plane = torch.nn.functional.pad(coordinates.double(), (0, max(0, 2 - coordinates.shape[1])))[:, :2]
    low, high = plane.amin(0), plane.amax(0)
    margin = 0.12 * width
    frame = torch.tensor([width, height], dtype=torch.float64) - 2 * margin
    unit = float((frame / (high - low).clamp_min(1e-9)).min())
    if float((high - low).max()) < 1e-9:
        unit = 1.0
    places = torch.tensor([width / 2, height / 2]) + (plane - (low + high) / 2) * unit
    radius = max(3, width // 90)
    for number, ((x, y), name) in enumerate(zip(places.tolist(), names, strict=True)):
        colour = PALETTE[number % len(PALETTE)]
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
        length = draw.textlength(name, font=font)
        left = min(max(x - length / 2, 2), width - length - 2)
        draw.text((left, y + 1.5 * radius), name, font=font, fill=INK)
    scale = _round_length(0.25 * width / unit)
    bar = scale * unit
    draw.line((line, height + 0.6 * line, line + bar, height + 0.6 * line), fill=FAINT, width=max(2, width // 250))
    draw.text((line, height + 0.8 * line), f"{scale:g} x the spread within a group", font=font, fill=INK)
    share = float(shares[:2].sum()) if len(names) > 1 else 1.0
    draw.text((line, height + 1.9 * line), f"The map shows {share:.0%} of the differences.", font=font, fill=INK)
    return page


def _round_length(length: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is not longer."""
    power = 10.0 ** torch.tensor(length).log10().floor().item()
    return next(factor * power for factor in (5.0, 2.0, 1.0) if factor * power <= length * 1.0001)
