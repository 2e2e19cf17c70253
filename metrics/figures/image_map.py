"""A two-dimensional map of the features by their principal components: similar images are close together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from .canvas import FAINT, INK, NODE_WIDTH, PALETTE, letters, sheet, tile

THUMBNAILS = 30
"""Number of images shown as thumbnails, chosen far from each other; the others are dots."""

_ROUNDS = 60


def image_map(
    features: Tensor,
    images: Sequence[Image.Image],
    numbers: Sequence[int],
    groups: Sequence[str] | None = None,
    width: int = NODE_WIDTH,
) -> Image.Image:
    """Draw the map.

    Args:
        features: (n, d) rows of all images.
        images: the thumbnails to show.
        numbers: row of each thumbnail.
        groups: name of each row's group, shown by colour and in a legend.
        width: in pixels.
    """
    height = round(width * 0.8)
    line = round(17 * width / NODE_WIDTH)
    font = letters(width, 12)
    names = sorted(set(groups)) if groups is not None else []
    legend_rows = -(-len(names) // 3)
    page, draw = sheet(width, height + (2 + legend_rows) * line)
    positions, share = principal_plane(features)
    side = round(width / max(6.0, min(12.0, len(numbers) ** 0.5 * 2)))
    places = side * 0.6 + positions * (torch.tensor([width, height]) - 1.2 * side)
    radius = max(2, width // 200)
    for row, (x, y) in enumerate(places.tolist()):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_colour(row, groups, names))
    frame = max(2, width // 200)
    boxes = _apart(places[list(numbers)], side + 2 * frame, width, height) if len(numbers) else places[:0]
    for image, number, (x, y) in zip(images, numbers, boxes.tolist(), strict=True):
        left, top = round(x - side / 2), round(y - side / 2)
        anchor = places[number].tolist()
        draw.line((*anchor, x, y), fill=FAINT, width=1)
        page.paste(tile(image, side), (left, top))
        colour = _colour(number, groups, names)
        draw.rectangle((left - frame, top - frame, left + side, top + side), outline=colour, width=frame)
    _legend(draw, names, height, width, line)
    text = f"Images alike lie close together; the map shows {share:.0%} of their differences."
    draw.text((line // 2, page.height - 1.5 * line), text, font=font, fill=INK)
    return page


def principal_plane(features: Tensor) -> tuple[Tensor, float]:
    """Coordinates (n, 2) in 0 to 1 along the two directions in which the rows differ most.

    Returns:
        The coordinates, and their fraction of the variance: 1 if all rows are equal.
    """
    rows = features.to(torch.float64)
    centred = rows - rows.mean(0) if len(rows) else rows
    if not centred.any():
        return torch.full((len(rows), 2), 0.5), 1.0
    if len(rows) > rows.shape[1]:
        variances, directions = torch.linalg.eigh(centred.T @ centred)
        plane = centred @ directions[:, -2:].flip(1)
    else:
        variances, directions = torch.linalg.eigh(centred @ centred.T)
        plane = directions[:, -2:].flip(1) * variances[-2:].flip(0).clamp_min(0).sqrt()
    plane = torch.nn.functional.pad(plane, (0, 2 - plane.shape[1]))
    # The sign of an eigenvector is arbitrary: the farthest image is placed at the right and at the bottom.
    farthest = plane.gather(0, plane.abs().argmax(0, keepdim=True))
    plane = plane * torch.where(farthest < 0, -1.0, 1.0)
    low, high = plane.amin(0), plane.amax(0)
    spread = torch.where(high > low, high - low, 1)
    share = float(variances[-2:].sum() / variances.clamp_min(0).sum())
    return ((plane - low) / spread).float(), min(share, 1.0)


def far_apart(features: Tensor, count: int = THUMBNAILS) -> list[int]:
    """Representative rows by farthest-point sampling (Gonzalez 1985)."""
    if len(features) <= count:
        return list(range(len(features)))
    chosen = [0]
    distances = (features - features[0]).square().sum(1)
    while len(chosen) < count:
        chosen.append(int(distances.argmax()))
        distances = torch.minimum(distances, (features - features[chosen[-1]]).square().sum(1))
    return sorted(chosen)


def _apart(places: Tensor, side: int, width: int, height: int) -> Tensor:
    """Move overlapping squares apart, along the axis of smaller overlap; returns their centres."""
    centres = places.clone()
    count = len(centres)
    for _ in range(_ROUNDS):
        offset = centres[:, None] - centres
        overlap = side - offset.abs()
        touching = (overlap > 0).all(2) & ~torch.eye(count, dtype=torch.bool)
        if not touching.any():
            break
        # Coincident squares separate in the order of their indices.
        order = torch.arange(count)[:, None] - torch.arange(count)
        direction = torch.where(offset == 0, order[..., None].to(offset.dtype), offset).sign()
        along = torch.nn.functional.one_hot(overlap.argmin(2), 2).to(offset.dtype)
        push = direction * overlap * along * touching[..., None]
        centres = centres + 0.3 * push.sum(1)
        centres = centres.clamp(min=side / 2)
        centres = torch.minimum(centres, torch.tensor([width, height]) - side / 2)
    return centres


def _legend(draw: ImageDraw.ImageDraw, names: Sequence[str], top: int, width: int, line: int) -> None:
    font = letters(width, 11)
    for place, name in enumerate(names):
        left = line // 2 + (place % 3) * (width // 3)
        base = top + (place // 3) * line + line // 4
        draw.rectangle((left, base, left + line // 2, base + line // 2), fill=PALETTE[place % len(PALETTE)])
        draw.text((left + line * 0.8, base - line * 0.2), name[:24], font=font, fill=INK)


def _colour(row: int, groups: Sequence[str] | None, names: Sequence[str]) -> str:
    return FAINT if groups is None else PALETTE[names.index(groups[row]) % len(PALETTE)]
