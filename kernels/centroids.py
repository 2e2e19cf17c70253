"""Activation means, centroids and their map: feature-guided score diffusion (arXiv 2410.11646), reconstructed.

An activation mean is the spatial mean of one channel of a denoiser layer. Shifting a channel by a constant moves its
mean and keeps its spatial pattern and variance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

NEGLIGIBLE = 1e-3
"""Rows shorter than this fraction of the longest are dropped: they are at float32 rounding or carry no information."""


def channel_means(activations: Tensor, channel_axis: int) -> Tensor:
    """Spatial mean of every channel.

    Args:
        activations: shape (B, C, ...) or (B, ..., C), any floating dtype.
        channel_axis: 1 or -1.

    Returns:
        Shape (B, C), float32.
    """
    return activations.movedim(channel_axis, 1).flatten(2).mean(2, dtype=torch.float32)


def shift_channels(activations: Tensor, shift: Tensor, channel_axis: int) -> Tensor:
    """Add a constant to every channel, then rescale each sample to its norm before.

    The rescaling keeps activations within the range that the network knows.

    Args:
        activations: shape (B, C, ...) or (B, ..., C).
        shift: shape (B, C).
        channel_axis: 1 or -1.

    Returns:
        Shape and dtype of ``activations``; all-zero samples stay zero.
    """
    shape = [len(activations)] + [1] * (activations.ndim - 1)
    shape[channel_axis] = shift.shape[1]
    before = activations.float()
    after = before + shift.to(before).view(shape)
    norm_before, norm_after = (values.flatten(1).norm(dim=1) for values in (before, after))
    scale = norm_before / norm_after.clamp_min(torch.finfo(torch.float32).tiny)
    return (after * scale.view([-1] + [1] * (after.ndim - 1))).to(activations.dtype)


def target_shift(means: Tensor, target: Tensor, weight: float) -> Tensor:
    """Shift of channel means (B, C) towards a target (C,): weight (target - mean); a negative weight leads away."""
    return weight * (target.to(means) - means)


def dilation_shift(means: Tensor, weight: float) -> Tensor:
    """Shift of channel means (B, C) that dilates the batch about its mean by 1 + weight; zero for one sample.

    The mean is over finite samples, so that a NaN sample affects no other.
    """
    finite = means[means.isfinite().all(1)]
    return weight * (means - finite.mean(0, keepdim=True)) if len(finite) else torch.zeros_like(means)


def principal_rows(rows: Tensor, max_rows: int) -> Tensor:
    """Principal components of rows as rows: a low-rank factor of their second moment.

    Args:
        rows: shape (N, C).
        max_rows: how many to keep at most.

    Returns:
        R, shape (K, C), the longest first, with R^T R closest to rows^T rows; negligible rows are dropped.
    """
    _, sizes, axes = torch.linalg.svd(rows.double(), full_matrices=False)
    return (sizes[:, None] * axes)[: min(_rank(sizes), max_rows)].float()


def joint_principal_rows(rows: Mapping[str, Tensor], max_rows: int) -> dict[str, Tensor]:
    """Principal components of rows that are shared by layers: row k is the same mixture of items in every layer.

    Without a limit they keep each layer's second moment exactly. Layers have equal weight in the order.

    Args:
        rows: by layer, shape (N, C): the same N items in each.
        max_rows: how many to keep at most.

    Returns:
        By layer, shape (K, C), the longest first; negligible rows are dropped.
    """
    tiny = torch.finfo(torch.float64).tiny
    scaled = [values.double() / values.double().norm().clamp_min(tiny) for values in rows.values()]
    mixtures, sizes, _ = torch.linalg.svd(torch.cat(scaled, 1), full_matrices=False)
    # A decomposition leaves the signs open. Uneven weights fix them despite rounding, even those of (1, -1).
    kept = mixtures[:, : min(_rank(sizes), max_rows)].T
    lean = kept @ torch.arange(1, kept.shape[1] + 1, dtype=kept.dtype, device=kept.device).sqrt()
    kept = torch.where(lean < 0, -1.0, 1.0)[:, None] * kept
    return {name: (kept @ values.double()).float() for name, values in rows.items()}


def shared_direction(difference: Tensor, variation: Tensor, damping: float) -> Tensor:
    """Direction from the rest to a group, with the directions in which its members vary suppressed.

    (I + V^T V / k)^-1 d, of unit length, with k the damping times the mean square of a row: eight women of many skin
    tones, most with dark hair, are darker than the rest on average, but darkness is not what they share.

    Args:
        difference: d, shape (C,), of the group's mean from that of the rest.
        variation: V, shape (K, C); V^T V is the covariance of the members.
        damping: above 0; larger values suppress less.

    Returns:
        Shape (C,), float32; zero if the difference is zero.
    """
    direction = difference.double()
    if bool(variation.any()):
        _, sizes, axes = torch.linalg.svd(variation.double(), full_matrices=False)
        squares = sizes.square()
        direction = direction - axes.T @ (squares / (squares + damping * squares.mean()) * (axes @ direction))
    return (direction / direction.norm().clamp_min(torch.finfo(torch.float64).tiny)).float()


def interpolate(levels: Tensor, values: Tensor, level: float) -> Tensor:
    """Interpolate values recorded at some noise levels, linearly in the logarithm of the level.

    Args:
        levels: shape (S,), descending, above 0.
        values: shape (S, ...).
        level: where to interpolate; beyond the ends the value at the end holds.

    Returns:
        Shape (...).
    """
    if level >= float(levels[0]):
        return values[0]
    if level <= float(levels[-1]):
        return values[-1]
    below = int((levels > level).sum())
    logs = levels[below - 1 : below + 1].log()
    weight = float((logs[0] - torch.tensor(level).log()) / (logs[0] - logs[1]))
    return torch.lerp(values[below - 1], values[below], weight)


def squared_separations(means: Sequence[Tensor], spreads: Sequence[Tensor]) -> Tensor:
    """Squared distances between centroids in units of the spread of their exemplars.

    Args:
        means: one tensor (N, S, C) for each layer: N centroids at S noise levels.
        spreads: standard deviations of the exemplars, in the same shapes.

    Returns:
        Shape (N, N), float64: the mean over layers and noise levels of |mean_i - mean_j|^2 / |spread|^2, the spread
        pooled over the centroids. Where that is zero, the unit is the mean squared centroid instead.
    """
    total = torch.zeros(means[0].shape[0], means[0].shape[0], dtype=torch.float64)
    for mean, spread in zip(means, spreads, strict=True):
        rows = mean.double().movedim(1, 0)
        squared = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").square()
        unit = spread.double().square().sum(2).mean(0)
        unit = torch.where(unit > 0, unit, rows.square().sum(2).mean(1))
        total += (squared / unit.clamp_min(torch.finfo(torch.float64).tiny)[:, None, None]).mean(0)
    return total / len(means)


def classical_scaling(squared: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates whose Euclidean distances are the given ones (Torgerson 1952).

    Args:
        squared: squared distances, shape (N, N), float64.

    Returns:
        Coordinates, shape (N, N - 1), centred, by falling variance; and the fraction of the variance along each axis,
        (N - 1,). Signs are fixed: the largest coordinate along an axis is positive.
    """
    count = len(squared)
    centring = torch.eye(count, dtype=squared.dtype) - 1 / count
    values, vectors = torch.linalg.eigh(-0.5 * centring @ squared @ centring)
    values, vectors = values.flip(0)[: count - 1].clamp_min(0), vectors.flip(1)[:, : count - 1]
    coordinates = vectors * values.sqrt()
    if count > 1:
        largest = coordinates.gather(0, coordinates.abs().argmax(0, keepdim=True))
        coordinates = coordinates * torch.where(largest < 0, -1.0, 1.0)
    return coordinates, values / values.sum().clamp_min(torch.finfo(squared.dtype).tiny)


def _rank(sizes: Tensor) -> int:
    return int((sizes > NEGLIGIBLE * sizes.max()).sum()) if len(sizes) else 0
