"""Gradient of the log Vendi Score (2210.02410) for a few rows beside a constant bank, decomposed once for many calls.

With the bank's C_b = V S V^T, the second moment of bank and moving rows together is C = (V S V^T + R^T R)/n. What the
gradient -2/n (log C + I) R^T needs is the action of the logarithm on the few rows of R,
log C = integral over t > 0 of (1 + t)^-1 I - (C + t I)^-1, and every resolvent differs from the bank's diagonal one by
a correction of the size of R R^T (Woodbury's identity).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .precision import to_float64
from .vendi import unit_features

# Eigenvalues of the bank's second moment below this are rounding.
_SPECTRUM_FLOOR = 1e-12
# Below this ratio of eigenvalues, dividing by their roots leaves the eigenvectors less orthogonal than 1e-10.
_ORTHOGONAL = 1e-6
# Singular values of the rows' part outside the bank's span below this are rounding.
_RESIDUAL_FLOOR = 1e-13
# A row of which less than this share remains outside the bank's span lost digits on the way.
_CANCELLATION = 0.1
# The trapezoidal rule in log t: its step has an error of exp(-2 pi^2 / step), 2e-11; its ends leave out 1e-9 at worst.
_STEP = 0.8
_LOG_T = (-44.0, 25.0)


@dataclass(frozen=True)
class BankSpectrum:
    """A constant set of unit features by the spectrum of X^T X.

    Attributes:
        vectors: (d, m) orthonormal eigenvectors with eigenvalues above rounding, float64.
        squares: (m,) eigenvalues.
        count: number of rows.
    """

    vectors: Tensor
    squares: Tensor
    count: int


def bank_spectrum(bank: Tensor) -> BankSpectrum:
    """Decompose a bank once, on the smaller of its two Gram matrices.

    Args:
        bank: (n, d) rows of unit length; n may be 0.

    Returns:
        Its spectrum, of at most min(n, d) eigenvectors.

    Raises:
        ValueError: rows that are not of unit length or not finite.
    """
    bank = torch.as_tensor(bank)
    if not len(bank):
        empty = to_float64(bank)
        return BankSpectrum(empty.T, empty.new_zeros(0), 0)
    rows = unit_features(bank)
    wide = rows.shape[1] > len(rows)
    squares, vectors = torch.linalg.eigh(rows @ rows.T if wide else rows.T @ rows)
    kept = squares > _SPECTRUM_FLOOR * len(rows)
    squares, vectors = squares[kept], vectors[:, kept]
    if wide:
        vectors = rows.T @ (vectors / squares.sqrt())
        if squares[0] < _ORTHOGONAL * squares[-1]:
            vectors = torch.linalg.qr(vectors).Q
    return BankSpectrum(vectors, squares, len(rows))


def log_vendi_gradient_beside(bank: BankSpectrum, rows: Tensor, order: float = 1.0) -> Tensor:
    """Gradient of the log Vendi Score of bank and rows together with respect to the rows, cosine kernel.

    Equals ``log_vendi_gradient`` of the joined set at its last rows to about 1e-9, and to 1e-6 of their lengths along
    directions that this takes for rounding.

    Args:
        bank: spectrum of the constant rows.
        rows: (r, d) rows of unit length that may move, r small.
        order: 1 or 2; other orders need the spectrum of the joined set (``log_vendi_gradient``).

    Returns:
        (r, d) ambient gradient, in the rows' dtype and on their device.

    Raises:
        ValueError: another order, or rows that are not of unit length, not finite or not of the bank's size.
    """
    rows = torch.as_tensor(rows)
    moving = unit_features(rows).to(bank.vectors.device)
    if moving.shape[1] != len(bank.vectors):
        raise ValueError(f"The bank has {len(bank.vectors)} features and the rows have {moving.shape[1]}.")
    n = bank.count + len(moving)
    inside = moving @ bank.vectors
    rotation, singular, directions = _outside(moving - inside @ bank.vectors.T, bank.vectors)
    inside = rotation.T @ inside
    if order == 1:
        action = -_log_plus_one_action(bank.squares / n, inside, singular, n)
    elif order == 2:
        action = _square_action(bank.squares / n, inside, singular, n)
    else:
        raise ValueError(f"Beside a decomposed bank the order must be 1 or 2, got {order}.")
    split = len(bank.squares)
    gradient = rotation @ (action[:, :split] @ bank.vectors.T + action[:, split:] @ directions) * (2 / n)
    return gradient.to(rows.device, rows.dtype)


def _outside(residual: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What a span leaves of unit rows, as rotation (r, r) times diag(singular (r,)) times directions (r, d).

    Directions of singular value 0 are 0. Rotating the rows among themselves leaves R^T R as it is.
    """
    if residual.square().sum(1).min() < _CANCELLATION**2:
        residual = residual - (residual @ vectors) @ vectors.T
    basis, triangle = torch.linalg.qr(residual.T)
    left, found, right = torch.linalg.svd(triangle)
    kept = found > _RESIDUAL_FLOOR
    singular, directions = residual.new_zeros(len(residual)), torch.zeros_like(residual)
    singular[: len(found)] = found * kept
    directions[: len(found)] = (basis @ left[:, : len(found)] * kept).T
    return right.T, singular, directions


def _log_plus_one_action(diagonal: Tensor, inside: Tensor, singular: Tensor, n: int) -> Tensor:
    """Rows Z = [A, diag(s)] times log(C) + I, where C = diag(diagonal, 0) + Z^T Z / n; shape (r, m + r)."""
    r = len(inside)
    low, high = _LOG_T
    t = torch.linspace(low, high, round((high - low) / _STEP) + 1, dtype=inside.dtype, device=inside.device).exp()
    weights = t * ((high - low) / (len(t) - 1))
    resolvent = 1 / (diagonal + t[:, None])
    # Woodbury's matrix I + Z (D + t)^-1 Z^T / n: what lies outside contributes its diagonal, by which it is scaled,
    # since that grows without bound towards t = 0.
    scale = (1 + singular.square() / (n * t[:, None])).rsqrt()
    scales = scale[:, :, None] * scale[:, None]
    inner = scales * (resolvent @ ((inside / n)[:, None] * inside).view(r * r, -1).T).view(-1, r, r)
    inner.diagonal(dim1=1, dim2=2).add_(1)
    correction = (weights[:, None, None] * scales * torch.linalg.inv(inner)).view(-1, r * r)
    mixed = (correction.T @ resolvent).view(r, r, -1)
    outer = ((1 / t) @ correction).view(r, r)
    identity = (weights / (1 + t)).sum() + 1
    return torch.cat(
        [identity * inside - (mixed * inside).sum(1), identity * torch.diag(singular) - outer * singular], 1
    )


def _square_action(diagonal: Tensor, inside: Tensor, singular: Tensor, n: int) -> Tensor:
    """Rows Z = [A, diag(s)] times -2 C / tr C^2, where C = diag(diagonal, 0) + Z^T Z / n; shape (r, m + r)."""
    gram = (inside @ inside.T + torch.diag(singular.square())) / n
    square = diagonal.square().sum() + 2 * (inside.square() @ diagonal).sum() / n + gram.square().sum()
    return torch.cat([inside * diagonal + gram @ inside, gram * singular], 1) * (-2 / square)
