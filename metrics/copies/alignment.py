"""Where one image lies in another: which window of it, mirrored or not, looks most like the other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

VIEW = 16
"""Side of the small views from which windows are chosen, in pixels."""

# Side of a window as a share of the image, and how many places it takes in each direction.
_WINDOWS = ((1.0, 1), (0.93, 3), (0.86, 5), (0.78, 5), (0.7, 7))
_SMALLEST, _LARGEST, _FARTHEST = 0.55, 1.15, 0.5
_LONGEST_STEP = 0.05


def windows() -> Tensor:
    """All windows: width and height as shares of the image, and the centre's offset, -1 to 1; shape (W, 4)."""
    found = []
    for share, places in _WINDOWS:
        offsets = [0.0] if places == 1 else [(1 - share) * (2 * place / (places - 1) - 1) for place in range(places)]
        found += [(share, share, x, y) for x, y in product(offsets, offsets)]
    return torch.tensor(found)


@cache
def pixel_centres(side: int) -> Tensor:
    """Places of the pixels of a row, -1 to 1, shape (side,)."""
    return (torch.arange(side) + 0.5) / side * 2 - 1


def cut(images: Tensor, places: Tensor, side: int) -> Tensor:
    """One window of each image, scaled to a square.

    Args:
        images: (P, C, H, W).
        places: of the windows, (P, 4).
        side: of the result in pixels.
    """
    return _sampled(images, _grid(places, side))


def _sampled(images: Tensor, grid: Tensor) -> Tensor:
    return grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _grid(places: Tensor, side: int) -> Tensor:
    """Where the pixels of windows (P, 4) lie in their images, x and y from -1 to 1, (P, side, side, 2)."""
    steps = pixel_centres(side)
    x = places[:, :1] * steps + places[:, 2:3]
    y = places[:, 1:2] * steps + places[:, 3:]
    return torch.stack([x[:, None, :].expand(-1, side, -1), y[:, :, None].expand(-1, -1, side)], -1)


@cache
def _view_grid() -> Tensor:
    """Where the pixels of all windows' views lie, one below the other, (1, W * VIEW, VIEW, 2)."""
    return _grid(windows(), VIEW).flatten(0, 1)[None]


def blur(images: Tensor, sigma: float) -> Tensor:
    """A Gaussian blur of (B, C, H, W), sigma in pixels."""
    rows, columns = (_blurring(side, sigma) for side in images.shape[-2:])
    return rows @ images @ columns.T


@lru_cache(maxsize=64)
def _blurring(side: int, sigma: float) -> Tensor:
    """A Gaussian blur of a row of pixels, whose ends go on, as a matrix (side, side)."""
    reach = int(3 * sigma) + 1
    places = torch.arange(-reach, reach + 1)
    weights = (-0.5 * (places / sigma) ** 2).exp()
    taken = (torch.arange(side)[:, None] + places).clamp(0, side - 1)
    return torch.zeros(side, side).scatter_add_(1, taken, (weights / weights.sum()).expand(side, -1))


def views(luma: Tensor, count: int | None = None) -> Tensor:
    """Every window of each image as a unit row without its mean, (B, W, VIEW^2); the first is the whole image.

    Args:
        luma: (B, 1, S, S).
        count: of windows, the first ones; None for all.
    """
    smooth = blur(luma, luma.shape[-1] / VIEW / 2)
    grid = _view_grid()[:, : None if count is None else count * VIEW]
    rows = _sampled(smooth, grid.expand(len(luma), -1, -1, -1)).view(len(luma), -1, VIEW**2)
    rows = rows - rows.mean(2, keepdim=True)
    return rows / rows.norm(dim=2, keepdim=True).clamp_min(1e-4)


def half_size(images: Tensor) -> Tensor:
    """Square images (B, C, S, S) at half their size."""
    half = images.shape[-1] // 2
    return interpolate(images, (half, half), mode="bilinear", antialias=True)


def refined(source: Tensor, target: Tensor, places: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Move and stretch windows until they fit their targets best: Gauss-Newton with gain and offset free.

    Args:
        source: luma that the windows are cut from, (P, 1, S, S).
        target: luma, (P, 1, S, S).
        places: of the windows, (P, 4).
        sigmas: blur of each step in pixels: far off first, then close.
    """
    for sigma in sigmas:
        places = _step(blur(source, sigma), blur(target, sigma), places)
    return places


def _step(source: Tensor, target: Tensor, places: Tensor) -> Tensor:
    side = source.shape[-1]
    steps = pixel_centres(side)
    x, y = steps.expand(side, side).flatten(), steps[:, None].expand(side, side).flatten()

    def shifted(column: int, by: float) -> Tensor:
        moved = places.clone()
        moved[:, column] += by
        return cut(source, moved, side).flatten(1)

    eps = 1 / side
    along_x, along_y = ((shifted(column, eps) - shifted(column, -eps)) / (2 * eps) for column in (2, 3))
    seen = cut(source, places, side).flatten(1)
    jacobian = torch.stack([seen, torch.ones_like(seen), along_x * x, along_y * y, along_x, along_y], 2)
    normal = jacobian.transpose(1, 2) @ jacobian
    damping = torch.diag_embed(normal.diagonal(dim1=1, dim2=2) * 1e-3 + 1e-6)
    found = torch.linalg.solve(normal + damping, jacobian.transpose(1, 2) @ target.flatten(1)[:, :, None])[:, :, 0]
    gain = found[:, :1]
    gain = torch.where(gain.abs() < 0.1, torch.full_like(gain, 0.1).copysign(gain), gain)
    moved = places + (found[:, 2:] / gain).clamp(-_LONGEST_STEP, _LONGEST_STEP)
    sizes, centres = moved[:, :2].clamp(_SMALLEST, _LARGEST), moved[:, 2:].clamp(-_FARTHEST, _FARTHEST)
    return torch.cat([sizes, centres], 1)
