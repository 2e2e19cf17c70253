"""Cut squares out of images: round a box, or upright round eyes and mouth as the recognition network was trained."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

EYES_TO_MOUTH = 0.45
"""Distance from the eyes to the mouth in an aligned face, relative to its side."""

CENTRE = 0.43
"""Height of the centre of eyes and mouth in an aligned face, relative to its side."""


def square(image: Tensor, centre: Tensor, length: float, side: int, angle: float = 0.0) -> Tensor:
    """A square of an image, averaged where it is made smaller; black where it lies outside.

    Args:
        image: (3, H, W) in 0 to 1.
        centre: of the square, (2,): x and y in pixels.
        length: of its side in the image, in pixels.
        side: of the result, in pixels.
        angle: by which the square is turned clockwise, in radians.

    Returns:
        (3, side, side) in 0 to 1, float32.
    """
    reach = 0.75 * length + 2  # half of a square's diagonal, and what interpolation needs
    limits = torch.tensor(image.shape[-2:]).flip(0)
    start, end = ((centre + offset).clamp(0 * limits, limits - 1) for offset in (-reach, reach))
    (left, top), (right, bottom) = start.floor().int().tolist(), end.ceil().int().tolist()
    part = image[None, :, top : bottom + 1, left : right + 1].float()
    centre = centre - torch.tensor([left, top])
    if (scale := side / length) < 1:
        size = [max(1, round(pixels * scale)) for pixels in part.shape[-2:]]
        centre = centre * torch.tensor([size[1] / part.shape[3], size[0] / part.shape[2]])
        part = interpolate(part, size, mode="bilinear", antialias=True)
        length = side
    step = ((torch.arange(side) + 0.5) / side - 0.5) * length
    across, along = math.cos(angle) * step, math.sin(angle) * step
    x = centre[0] + across[None] - along[:, None]
    y = centre[1] + along[None] + across[:, None]
    grid = torch.stack([x / part.shape[3], y / part.shape[2]], -1) * 2 - 1
    return grid_sample(part, grid[None].to(part.device, part.dtype), align_corners=False)[0]


def upright(image: Tensor, points: Tensor, side: int) -> Tensor:
    """A face turned and scaled so that eyes and mouth are where the recognition network expects them.

    Args:
        image: (3, H, W) in 0 to 1.
        points: centres of left eye, right eye and mouth, (3, 2): x and y in pixels.
        side: of the result, in pixels.
    """
    left, right, mouth = points
    angle = math.atan2(float(right[1] - left[1]), float(right[0] - left[0]))
    length = float((mouth - points[:2]).norm(dim=1).mean()) / EYES_TO_MOUTH
    down = torch.tensor([-math.sin(angle), math.cos(angle)])
    return square(image, points.mean(0) + (0.5 - CENTRE) * length * down, length, side, angle)
