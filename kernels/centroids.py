"""Channel means, centroids and their Euclidean map: feature-guided score diffusion (arXiv 2410.11646), reconstructed.

A feature is the spatial mean of one channel of a layer of the denoiser. Shifting a channel by a constant moves its
mean and leaves everything else of it alone: spatial pattern, variance, differences between places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

NEGLIGIBLE = 1e-3
"""Rows shorter than this share of the longest are roundings of single precision, or say nothing."""


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
    """Add a constant to every channel, and bring each sample back to the norm that it had.

    Without the second step an unknown network could be driven out of the range of activations that it knows.

    Args:
        activations: shape (B, C, ...) or (B, ..., C).
        shift: shape (B, C).
        channel_axis: 1 or -1.

    Returns:
        Shape and dtype of ``activations``; samples that are zero everywhere stay so.
    """
    shape = [len(activations)] + [1] * (activations.ndim - 1)
    shape[channel_axis] = shift.shape[1]
    before = activations.float()
    after = before + shift.to(before).view(shape)
    norm_before, norm_after = (values.flatten(1).norm(dim=1) for values in (before, after))
    scale = norm_before / norm_after.clamp_min(torch.finfo(torch.float32).tiny)
    return (after * scale.view([-1] + [1] * (after.ndim - 1))).to(activations.dtype)


def towards(means: Tensor, target: Tensor, weight: float) -> Tensor:
    """Shift of channel means (B, C) by a share of the way to a target (C,); a negative weight leads away from it."""
    return weight * (target.to(means) - means)


def apart(means: Tensor, weight: float) -> Tensor:
    """Shift of channel means (B, C) that dilates the batch about its own mean by 1 + weight; zero for one sample.

    The mean is that of the finite samples: one that has become NaN stays alone with it.
    """
    finite = means[means.isfinite().all(1)]
    return weight * (means - finite.mean(0, keepdim=True)) if len(finite) else torch.zeros_like(means)


def principal_rows(rows: Tensor, most: int) -> Tensor:
    """Few rows with the second moments of many: their sum of squares in every direction is the largest possible.

    Args:
        rows: shape (N, C).
        most: how many to keep at most.

    Returns:
        Shape (K, C), K of at most ``most``, the longest first; negligible ones are left out.
    """
    _, sizes, axes = torch.linalg.svd(rows.double(), full_matrices=False)
    count = int((sizes > NEGLIGIBLE * sizes.max()).sum()) if len(sizes) else 0
    return (sizes[:, None] * axes)[: min(count, most)].float()


def joint_principal_rows(rows: Mapping[str, Tensor], most: int) -> dict[str, Tensor]:
    """Few rows in place of many in every layer, the k-th of them the same mixture of the same items in all layers.

    All rows together keep each layer's second moments exactly. Layers weigh alike in the order.

    Args:
        rows: by layer, shape (N, C): the same N items in each.
        most: how many to keep at most.

    Returns:
        By layer, shape (K, C), K of at most ``most``, those that matter most first; negligible ones are left out.
    """
    tiny = torch.finfo(torch.float64).tiny
    scaled = [values.double() / values.double().norm().clamp_min(tiny) for values in rows.values()]
    mixtures, sizes, _ = torch.linalg.svd(torch.cat(scaled, 1), full_matrices=False)
    count = min(int((sizes > NEGLIGIBLE * sizes.max()).sum()) if len(sizes) else 0, most)
    # A decomposition leaves the signs open. Uneven weights settle them, whatever is rounded, also of a pair's (1, -1).
    kept = mixtures[:, :count].T
    lean = kept @ torch.arange(1, kept.shape[1] + 1, dtype=kept.dtype, device=kept.device).sqrt()
    kept = torch.where(lean < 0, -1.0, 1.0)[:, None] * kept
    return {name: (kept @ values.double()).float() for name, values in rows.items()}


def shared_direction(difference: Tensor, variation: Tensor, damping: float) -> Tensor:
    """The direction in which a group differs, without that in which its members differ from one another.

    (I + V^T V / k)^-1 d, of unit length, with k the damping times the mean square of a row: eight women of many skin
    tones and with long dark hair lie darker than the rest, but darkness is not what they share.

    Args:
        difference: d, shape (C,), of the group from the rest.
        variation: V, shape (K, C), whose V^T V is the covariance of the members.
        damping: above 0; the larger, the less is taken away.

    Returns:
        Shape (C,), float32; zero where there is no difference.
    """
    direction = difference.double()
    if bool(variation.any()):
        _, sizes, axes = torch.linalg.svd(variation.double(), full_matrices=False)
        squares = sizes.square()
        direction = direction - axes.T @ (squares / (squares + damping * squares.mean()) * (axes @ direction))
    return (direction / direction.norm().clamp_min(torch.finfo(torch.float64).tiny)).float()


def interpolated(levels: Tensor, values: Tensor, level: float) -> Tensor:
    """A feature between the noise levels at which it was recorded, linear in the logarithm of the level.

    Args:
        levels: shape (S,), descending, above 0.
        values: shape (S, ...).
        level: where; beyond the ends the nearest recorded value holds.

    Returns:
        Shape (...).
    """
    if level >= float(levels[0]):
        return values[0]
    if level <= float(levels[-1]):
        return values[-1]
    below = int((levels > level).sum())
    logs = levels[below - 1 : below + 1].log()
    share = float((logs[0] - torch.tensor(level).log()) / (logs[0] - logs[1]))
    return torch.lerp(values[below - 1], values[below], share)


def squared_separations(means: Sequence[Tensor], spreads: Sequence[Tensor]) -> Tensor:
    """Squared distances of centroids in units of the spread of their own exemplars.

    Args:
        means: one tensor (N, S, C) a layer: N centroids at S noise levels.
        spreads: standard deviations of the exemplars about them, alike.

    Returns:
        Shape (N, N), float64: the mean over layers and noise levels of |mean_i - mean_j|^2 / |spread|^2, the spread
        pooled over the centroids. Where no centroid has a spread, in units of the mean squared centroid instead.
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
        Coordinates, shape (N, N - 1), axes by falling variance, centred; and each axis' share of the variance,
        (N - 1,). Signs are fixed: the largest coordinate of an axis is positive.
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
