"""Gradient of the log Vendi Score (2210.02410) for a few rows beside a constant bank, decomposed once for many calls.

With the bank's C_b = V S V^T, the second moment of bank and moving rows R is C = (V S V^T + R^T R)/n. The gradient
-2/n (log C + I) R^T needs only the action of log C = integral over t > 0 of (1 + t)^-1 I - (C + t I)^-1 on the rows of
R. By Woodbury's identity each resolvent is the bank's diagonal one plus a correction of the size of R R^T.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from .precision import to_float64
from .vendi import SPECTRUM_FLOOR, unit_features

# Below this ratio of eigenvalues, eigenvectors divided by their roots are orthogonal to less than 1e-10.
_ORTHOGONAL = 1e-6
# Squared lengths of the rows' part outside the bank's span below this are rounding. Directions are never divided by
# their lengths, so that rounding error is never amplified.
_OUTSIDE_FLOOR = 1e-14
# Trapezoidal rule in log t: its error is exp(-2 pi^2 / step), 2e-11. Beyond its ends the integrand is a power series:
# two terms are summed exactly, and the rest is exp(-3 * 8).
_STEP = 0.8
_MARGIN = 8.0
# Lower limit of log t.
_LOG_T = -44.0


@dataclass(frozen=True)
class BankSpectrum:
    """The spectrum of X^T X of a constant set of unit features.

    Attributes:
        vectors: (d, m) orthonormal eigenvectors with eigenvalues above rounding, float64.
        squares: (m,) eigenvalues.
        count: number of rows.
    """

    vectors: Tensor
    squares: Tensor
    count: int


def bank_spectrum(bank: Tensor) -> BankSpectrum:
    """Decompose a bank, on the smaller of its two Gram matrices.

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
    kept = squares > SPECTRUM_FLOOR * len(rows)
    squares, vectors = squares[kept], vectors[:, kept]
    if wide:
        vectors = rows.T @ (vectors / squares.sqrt())
        if squares[0] < _ORTHOGONAL * squares[-1]:
            vectors = torch.linalg.qr(vectors).Q
    return BankSpectrum(vectors, squares, len(rows))


def log_vendi_gradient_beside(bank: BankSpectrum, rows: Tensor) -> Tensor:
    """Gradient of the log Vendi Score of order 1 of bank and rows together with respect to the rows, cosine kernel.

    Equals ``log_vendi_gradient`` of the whole set at its last rows to about 1e-9, and to 1e-6 of their lengths along
    directions that are treated as rounding.

    Args:
        bank: spectrum of the constant rows.
        rows: (r, d) rows of unit length that may move, r small.

    Returns:
        (r, d) ambient gradient, in the rows' dtype and on their device.

    Raises:
        ValueError: rows that are not of unit length, not finite or not of the bank's size.
    """
    rows = torch.as_tensor(rows)
    moving = unit_features(rows).to(bank.vectors.device)
    if moving.shape[1] != len(bank.vectors):
        raise ValueError(f"The bank has {len(bank.vectors)} features and the rows have {moving.shape[1]}.")
    n = bank.count + len(moving)
    inside = moving @ bank.vectors
    # The rows' part outside the bank's span enters only through its Gram matrix, which a rotation makes diagonal.
    outside, rotation = torch.linalg.eigh(moving @ moving.T - inside @ inside.T)
    outside, inside, moving = outside.clamp_min(_OUTSIDE_FLOOR), rotation.T @ inside, rotation.T @ moving
    within, beyond = _log_plus_one_action(bank.squares / n, inside, outside, n)
    gradient = rotation @ ((within - beyond @ inside) @ bank.vectors.T + beyond @ moving) * (-2 / n)
    return gradient.to(rows.device, rows.dtype)


def _log_plus_one_action(diagonal: Tensor, inside: Tensor, outside: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """P (r, m) and Q (r, r) of Z (log(C) + I) = [P, Q diag(s)]; see the comment below."""
    # Z = [A, diag(s)] and C = diag(diagonal, 0) + Z^T Z / n: A is ``inside`` (r, m), s^2 ``outside`` (r,), positive.
    r = len(inside)
    t, weights = _quadrature(_log_of_smallest_eigenvalue(diagonal, outside, n))
    t, weights = t.to(inside.device), weights.to(inside.device)
    resolvent = 1 / (diagonal + t[:, None])
    # Woodbury's matrix I + Z (D + t)^-1 Z^T / n, scaled by the diagonal of the outside part, which grows without bound
    # towards t = 0.
    scale = (1 + outside / (n * t[:, None])).rsqrt()
    scales = scale[:, :, None] * scale[:, None]
    inner = scales * (resolvent @ ((inside / n)[:, None] * inside).view(r * r, -1).T).view(-1, r, r)
    inner.diagonal(dim1=1, dim2=2).add_(1)
    correction = (weights[:, None, None] * scales * torch.linalg.inv(inner)).view(-1, r * r)
    mixed = (correction.T @ resolvent).view(r, r, -1)
    outer = ((1 / t) @ correction).view(r, r)
    identity = (weights / (1 + t)).sum() + 1
    return identity * inside - (mixed * inside).sum(1), torch.diag(identity.expand(r)) - outer


def _log_of_smallest_eigenvalue(diagonal: Tensor, outside: Tensor, n: int) -> int:
    """Lower bound of log l for the non-zero eigenvalues l of diag(diagonal, 0) + Z^T Z / n, Z = [A, diag(s)]."""
    # That matrix is L diag(diagonal, s^2 / n) L^T with L = [[1, A^T / s], [0, 1]], whose inverse has a norm of at most
    # 1 + |A| / s, and the rows of A are no longer than 1.
    least = float(outside.amin())
    smallest = min(least / n, float(diagonal.amin()) if len(diagonal) else math.inf)
    return math.floor(math.log(smallest) - 2 * math.log1p(math.sqrt(len(outside) / least)))


@lru_cache(maxsize=64)
def _quadrature(log_smallest: int) -> tuple[Tensor, Tensor]:
    """Nodes t and weights for integrals over t > 0 of resolvents with eigenvalues from exp(log_smallest) to 1."""
    low = max(log_smallest - _MARGIN, _LOG_T)
    log_t = torch.linspace(low, _MARGIN, math.ceil((_MARGIN - low) / _STEP) + 1, dtype=torch.float64)
    step = float(log_t[1] - log_t[0])
    # Beyond each end, the sum of f(t e^-step), f(t e^-2 step), ... of f = a t + b t^2 through the last two values.
    ratio = math.exp(-step)
    first, second = ratio / (1 - ratio), ratio**2 / (1 - ratio**2)
    inner = (second - first) / (ratio**-2 - ratio**-1)
    tail = torch.tensor([first - inner / ratio, inner], dtype=torch.float64)
    weights = torch.ones_like(log_t)
    weights[:2] += tail
    weights[-2:] += tail.flip(0)
    t = log_t.exp()
    return t, weights * t * step
