"""Fréchet distance between Gaussians (arXiv 1706.08500): |m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1 C2)^(1/2).

The trace of the root is the sum of the singular values of C1^(1/2) C2^(1/2), or of X1 X2^T where the covariances come
from centred features: always real and non-negative, unlike a general matrix root.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .precision import require_finite, to_float64
from .similarity import as_rows


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """Squared Fréchet distance between the Gaussians of two sets of features; FID with Inception's.

    With fewer items than features it works on the items, so that the cost does not grow with d^3.

    Args:
        x: (n, ...) features.
        y: (m, ...) features of the same size.

    Returns:
        Non-negative distance, in squared units of the features.

    Raises:
        ValueError: fewer than two items in a set, or features of different sizes or that are not finite.
    """
    (x, x_mean), (y, y_mean) = _centred(x), _centred(y)
    if len(x_mean) != len(y_mean):
        raise ValueError(f"Features of {len(x_mean)} and of {len(y_mean)} numbers cannot be compared.")
    if min(len(x), len(y)) >= len(x_mean):
        x_covariance, y_covariance = x.T @ x, y.T @ y
        overlap = torch.linalg.svdvals(_root(x_covariance) @ _root(y_covariance)).sum()
        spread = x_covariance.trace() + y_covariance.trace() - 2 * overlap
    else:
        # tr (C1 C2)^(1/2) is the nuclear norm of X1 X2^T, which is as small as the sets.
        spread = x.square().sum() + y.square().sum() - 2 * torch.linalg.svdvals(x @ y.T).sum()
    return max(float((x_mean - y_mean).square().sum() + spread), 0.0)


def _root(covariance: Tensor) -> Tensor:
    spectrum, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
    return (vectors * spectrum.clamp_min(0).sqrt()) @ vectors.T


def _centred(features: Tensor) -> tuple[Tensor, Tensor]:
    """Rows X around their mean, scaled so that X^T X is the unbiased covariance, and the mean."""
    rows = require_finite(to_float64(as_rows(features)), "Features")
    if len(rows) < 2:
        raise ValueError(f"A Fréchet distance needs at least two items in each set, got {len(rows)}.")
    mean = rows.mean(0)
    return (rows - mean) / (len(rows) - 1) ** 0.5, mean
