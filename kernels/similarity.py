"""Squared distances, cosine and Gaussian kernels, and the median rule for the bandwidth."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Pairs with |x - y|^2 below this fraction of |x|^2 + |y|^2 are computed from their difference: the expansion cancels.
_CANCELLATION = 1e-2
# Numbers held at once while such pairs are computed: 64 MB of float32.
_PAIR_BUDGET = 1 << 24


def as_rows(items: Tensor) -> Tensor:
    """Flatten items to the rows of a floating-point matrix.

    Args:
        items: (n, ...) numbers, one item for each index of the first axis; also a NumPy array.

    Returns:
        (n, d) tensor: float64 stays, everything else becomes float32.

    Raises:
        ValueError: fewer than two axes.
    """
    items = torch.as_tensor(items)
    if items.ndim < 2:
        raise ValueError(f"Expected items of shape (n, ...), one vector an item, got {tuple(items.shape)}.")
    width = math.prod(items.shape[1:])
    return items.reshape(len(items), width).to(torch.promote_types(items.dtype, torch.float32))


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Squared Euclidean distances between the items of two sets.

    One matrix product; pairs so close that it cancels are computed from their difference. Exactly 0 for equal items;
    the relative error is at most about 1e-5 in float32.

    Args:
        x: (n, ...) items.
        y: (m, ...) items of the same size.

    Returns:
        (n, m) squared distances in float32, or float64 where an input is.

    Raises:
        ValueError: the items are of different sizes.
    """
    x, y = _matched(x, y)
    scale = x.square().sum(1)[:, None] + y.square().sum(1)
    distances = torch.addmm(scale, x, y.T, alpha=-2).clamp_min(0)
    first, second = torch.nonzero(distances < _CANCELLATION * scale, as_tuple=True)
    chunk = max(1, _PAIR_BUDGET // max(1, x.shape[1]))
    for i, j in zip(first.split(chunk), second.split(chunk), strict=True):
        distances[i, j] = (x[i] - y[j]).square().sum(1)
    return distances


def unit_rows(items: Tensor) -> Tensor:
    """Items scaled to Euclidean length 1; zero items stay zero.

    Args:
        items: (n, ...) items.

    Returns:
        (n, d) rows in float32, or float64 where the input is.
    """
    rows = as_rows(items)
    # Divide by the largest entry first: squares could overflow or underflow.
    peak = rows.abs().amax(1, keepdim=True) if rows.shape[1] else rows.new_ones(len(rows), 1)
    rows = rows / torch.where(peak > 0, peak, 1)
    length = rows.norm(dim=1, keepdim=True)
    return rows / torch.where(length > 0, length, 1)


def cosine_kernel(x: Tensor, y: Tensor | None = None) -> Tensor:
    """Cosine similarities between the items of two sets, or of a set with itself.

    Zero items count as similar (1) to each other and to nothing else (0), which keeps the kernel positive semidefinite
    with a unit diagonal.

    Args:
        x: (n, ...) items.
        y: (m, ...) items of the same size; None for ``x`` itself.

    Returns:
        (n, m) similarities in [-1, 1], float32, or float64 where an input is.

    Raises:
        ValueError: the items are of different sizes.
    """
    x, y = _matched(x, x if y is None else y)
    x, y = unit_rows(x), unit_rows(y)
    zero_x, zero_y = ((rows == 0).all(1).to(rows.dtype) for rows in (x, y))
    return (x @ y.T + torch.outer(zero_x, zero_y)).clamp(-1, 1)


def gaussian_kernel(x: Tensor, y: Tensor | None = None, bandwidth: float | None = None) -> Tensor:
    """Gaussian similarities exp(-|x - y|^2 / (2 bandwidth^2)) between two sets, or of a set with itself.

    Args:
        x: (n, ...) items.
        y: (m, ...) items of the same size; None for ``x`` itself.
        bandwidth: width in the units of the items; None for ``median_bandwidth`` of all items given.

    Returns:
        (n, m) similarities in [0, 1], float32, or float64 where an input is.

    Raises:
        ValueError: the items are of different sizes, or the bandwidth is not a positive number.
    """
    x, other = _matched(x, x if y is None else y)
    if bandwidth is None:
        bandwidth = median_bandwidth(x if y is None else torch.cat([x, other]))
    if not (math.isfinite(bandwidth) and bandwidth > 0):
        raise ValueError(f"Expected a positive finite bandwidth, got {bandwidth}.")
    return torch.exp(squared_distances(x, other) / (-2 * bandwidth**2))


def median_bandwidth(items: Tensor) -> float:
    """The bandwidth at which two items at the median distance have Gaussian similarity 1/e.

    If more than half of the pairs coincide, the mean squared distance replaces the median's; if all do, every bandwidth
    gives the same kernel, and the result is 1.

    Args:
        items: (n, ...) items; all n (n - 1) / 2 distances are held at once.

    Returns:
        Width in the units of the items.
    """
    rows = as_rows(items).detach()
    upper = torch.triu_indices(len(rows), len(rows), offset=1, device=rows.device)
    pairs = squared_distances(rows, rows)[upper[0], upper[1]]
    if not pairs.any():
        return 1.0
    ordered = pairs.sort().values
    median = float(ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    return math.sqrt((median or float(pairs.mean())) / 2)


def _matched(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    x, y = as_rows(x), as_rows(y)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"Items of {x.shape[1]} and of {y.shape[1]} numbers cannot be compared.")
    dtype = torch.promote_types(x.dtype, y.dtype)
    return x.to(dtype), y.to(dtype)
