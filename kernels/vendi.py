"""Vendi Score (Friedman & Dieng 2210.02410) of any order (2310.12952) and its closed-form gradients.

With eigenvalues l of K/n, VS_q = (sum l^q)^(1/(1-q)), VS_1 = exp(-sum l log l), VS_inf = 1/max l: the effective number
of different items. The gradients are spectral functions of K/n. They never differentiate eigenvectors, so that
duplicates, orthogonal sets and kernels of low rank are no special cases. With a condition (SPARKE, 2506.10173) they are
those of log VS(K_X o K_Y), the conditional score up to a constant.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .precision import require_finite, to_float64
from .similarity import as_rows, gaussian_kernel, unit_rows

SPECTRUM_FLOOR = 1e-12
"""Eigenvalues of float64 matrices of trace 1 below this are rounding."""

# Orders closer to 1 than this use the formula of order 1: the general one divides rounding by rounding.
_SHANNON_WIDTH = 1e-7
# Relative distance from the largest eigenvalue within which others are tied with it.
_TIE_WIDTH = 1e-9


def vendi_score(
    kernel: Tensor, order: float = 1.0, weights: Tensor | None = None, truncation: int | None = None
) -> float:
    """Effective number of different items under a similarity kernel.

    Args:
        kernel: (n, n) positive semidefinite similarities with a unit diagonal.
        order: q in (0, infinity]; small orders count rare items fully, infinity the commonest alone. No spectrum at 2.
        weights: (n,) non-negative weights of the items, of any sum; None for equal ones.
        truncation: t of the truncated score (2410.21719): the t largest eigenvalues, to each of which 1/t of the sum of
            the others is added. It converges with a multiple of t items. None for all eigenvalues.

    Returns:
        Between 1 and n, or t if that is smaller.

    Raises:
        ValueError: no items, a kernel that is not square or not finite, an order, weights or truncation out of range.
    """
    if truncation is not None and truncation < 1:
        raise ValueError(f"A truncated Vendi Score keeps at least 1 eigenvalue, got {truncation}.")
    matrix, floor = _checked_kernel(torch.as_tensor(kernel))
    root = _root_weights(weights, matrix)
    return _score_of(root[:, None] * (matrix + matrix.T) / 2 * root, order, floor, truncation)


def vendi_score_features(features: Tensor, order: float = 1.0, weights: Tensor | None = None) -> float:
    """Effective number of different items under the cosine kernel of their features.

    Works on the smaller of the Gram matrices X X^T and X^T X, which share their non-zero eigenvalues.

    Args:
        features: (n, ...) features of any length; zero items are equal to each other and unrelated to all others.
        order: q in (0, infinity].
        weights: (n,) non-negative weights of the items, of any sum; None for equal ones.

    Returns:
        Between 1 and the smaller of n and the number of features (one more with zero items).

    Raises:
        ValueError: no items, features that are not finite, an order or weights out of range.
    """
    rows = as_rows(features)
    if not len(rows):
        raise ValueError("The diversity of no items is not defined: give at least one.")
    # Unit features rounded to a precision eps have spurious components of squared length eps^2.
    floor = max(SPECTRUM_FLOOR, _precision(torch.as_tensor(features)) ** 2)
    rows = unit_rows(require_finite(to_float64(rows), "Similarities and features"))
    zero = (rows == 0).all(1, keepdim=True)
    if zero.any():
        rows = torch.cat([rows, zero.to(rows.dtype)], 1)
    rows = _root_weights(weights, rows)[:, None] * rows
    return _score_of(_smaller_gram(rows), order, floor)


def log_vendi_kernel_gradient(kernel: Tensor, order: float = 1.0) -> Tensor:
    """Gradient of the log Vendi Score with respect to its kernel, entry by entry.

    -(log(K/n) + I)/n for order 1 and q/(1-q) (K/n)^(q-1) / (n tr (K/n)^q) for others, zero on the null space of K.
    Moving K_ij and K_ji together changes log VS by twice the entry.

    Args:
        kernel: (n, n) positive semidefinite similarities with a unit diagonal.
        order: q in (0, infinity]. At infinity tied largest eigenvalues share the gradient equally.

    Returns:
        (n, n) symmetric gradient, in the input's dtype and on its device.

    Raises:
        ValueError: no items, a kernel that is not square or not finite, or an order out of range.
    """
    kernel = torch.as_tensor(kernel)
    matrix, floor = _checked_kernel(kernel)
    matrix = matrix / len(kernel)
    gradient = _spectral_gradient((matrix + matrix.T) / 2, order, floor) / len(kernel)
    return gradient.to(kernel.device, kernel.dtype)


def log_vendi_gradient(
    features: Tensor, order: float = 1.0, rows: Tensor | None = None, condition: Tensor | None = None
) -> Tensor:
    """Gradient of the log Vendi Score with respect to features of unit length, cosine kernel K = X X^T.

    This is the ambient gradient, not projected to the tangent space of the sphere. All other rows are constant.

    Args:
        features: (n, d) rows of unit length.
        order: q in (0, infinity].
        rows: (r,) indices of the rows that may move; None for all.
        condition: (n, n) similarities of the items' conditions with a unit diagonal, for the conditional score.

    Returns:
        (r, d) gradient, in the input's dtype and on its device.

    Raises:
        ValueError: rows that are not of unit length or not finite, an order out of range, or a condition of another
            size.
    """
    features = torch.as_tensor(features)
    x = unit_features(features)
    n, index = len(x), _row_index(rows, x)
    floor = max(SPECTRUM_FLOOR, _precision(features) ** 2)
    if condition is not None:
        joint = _joint(x @ x.T, condition)
        weights = _spectral_gradient(joint / n, order, floor) * to_float64(condition).to(x.device)
        gradient = weights[index] @ x
    elif n > x.shape[1]:
        gradient = x[index] @ _spectral_gradient(x.T @ x / n, order, floor)
    else:
        gradient = _spectral_gradient(x @ x.T / n, order, floor)[index] @ x
    return (gradient * (2 / n)).to(features.device, features.dtype)


def log_vendi_gradient_gaussian(
    features: Tensor,
    bandwidth: float,
    order: float = 1.0,
    rows: Tensor | None = None,
    condition: Tensor | None = None,
) -> Tensor:
    """Gradient of the log Vendi Score with respect to features, Gaussian kernel of a fixed bandwidth.

    With G the gradient with respect to the kernel, row i is 2/bandwidth^2 sum_j G_ij K_ij (x_j - x_i).

    Args:
        features: (n, ...) items.
        bandwidth: width in the units of the features.
        order: q in (0, infinity].
        rows: (r,) indices of the rows that may move; None for all.
        condition: (n, n) similarities of the items' conditions with a unit diagonal, for the conditional score.

    Returns:
        (r, ...) gradient, in the input's shape, dtype and on its device.

    Raises:
        ValueError: features that are not finite, a bandwidth or an order out of range, or a condition of another size.
    """
    features = torch.as_tensor(features)
    x = require_finite(to_float64(as_rows(features)), "Similarities and features")
    kernel = gaussian_kernel(x, bandwidth=bandwidth)
    joint = kernel if condition is None else _joint(kernel, condition)
    force = log_vendi_kernel_gradient(joint, order) * joint
    index = _row_index(rows, x)
    force = force[index]
    gradient = (force @ x - force.sum(1, keepdim=True) * x[index]) * (2 / bandwidth**2)
    return gradient.reshape(len(gradient), *features.shape[1:]).to(features.device, features.dtype)


def order_two_force(
    rows: Tensor, others: Tensor, bandwidth: float | None = None, condition: Tensor | None = None
) -> Tensor:
    """|K|_F^2 / 4 times the gradient of log VS_2 of rows and others together with respect to the rows.

    The positive factor |K|_F^2, the same for all rows, is left out: it alone needs all pairs of the others.

    Args:
        rows: (r, d) that may move, floating; of unit length for the cosine kernel.
        others: (m, d) constant ones.
        bandwidth: width of the Gaussian kernel; None for the cosine kernel.
        condition: (r, r + m) similarities of the conditions of rows to those of rows and others; None for none.

    Returns:
        (r, d) in the rows' dtype and on their device.

    Raises:
        ValueError: rows and others of different sizes, or a bandwidth that is not a positive number.
    """
    force = torch.zeros_like(rows)
    weights = None if condition is None else condition.to(rows).square().split([len(rows), len(others)], 1)
    for number, block in enumerate((rows, others)):
        weight = 1.0 if weights is None else weights[number]
        if bandwidth is None:
            # A row's similarity to itself is constant on the sphere: its term is radial, as in the full gradient.
            force = force - (rows @ block.T * weight) @ block
        else:
            pull = gaussian_kernel(rows, block, bandwidth=bandwidth).square() * weight
            force = force + (pull.sum(1, keepdim=True) * rows - pull @ block) / bandwidth**2
    return force


def unit_features(features: Tensor) -> Tensor:
    """Check unit features (n, d), n at least 1, and convert them to float64.

    Raises:
        ValueError: another shape, norms off by more than 1 %, or numbers that are not finite.
    """
    if features.ndim != 2 or not len(features):
        raise ValueError(f"Expected unit features of shape (n, d) with n at least 1, got {tuple(features.shape)}.")
    x = require_finite(to_float64(features), "Similarities and features")
    worst = float((x.norm(dim=1) - 1).abs().max())
    if worst > 0.01:
        raise ValueError(f"Expected rows of unit length, but one is off by {worst:.3g}: divide by the norms.")
    return x


def _score_of(matrix: Tensor, order: float, floor: float, truncation: int | None = None) -> float:
    """VS of a symmetric positive semidefinite matrix divided by its trace."""
    _check_order(order)
    matrix = matrix / matrix.trace()
    if truncation is not None and truncation >= len(matrix):
        truncation = None
    if order == 2 and truncation is None:
        return float(1 / matrix.square().sum())
    spectrum = torch.linalg.eigvalsh(matrix)
    if truncation is not None:
        spectrum = spectrum[-truncation:] + spectrum[:-truncation].sum() / truncation
    spectrum = spectrum[spectrum > floor]
    spectrum = spectrum / spectrum.sum()
    if math.isinf(order):
        return float(1 / spectrum.max())
    logs = spectrum.log()
    if abs(order - 1) < _SHANNON_WIDTH:
        return float(torch.exp(-(spectrum * logs).sum()))
    return float(torch.exp(torch.logsumexp(order * logs, 0) / (1 - order)))


def _spectral_gradient(matrix: Tensor, order: float, floor: float) -> Tensor:
    """Gradient of log VS with respect to a symmetric matrix of trace 1, zero on its null space."""
    _check_order(order)
    if order == 2:
        return matrix * (-2 / matrix.square().sum())
    spectrum, vectors = torch.linalg.eigh(matrix)
    kept = spectrum > floor
    spectrum, vectors = spectrum[kept], vectors[:, kept]
    if math.isinf(order):
        top = (spectrum > spectrum[-1] * (1 - _TIE_WIDTH)).to(spectrum.dtype)
        weights = -top / (top.sum() * spectrum[-1])
    elif abs(order - 1) < _SHANNON_WIDTH:
        weights = -(spectrum.log() + 1)
    else:
        logs = spectrum.log()
        weights = order / (1 - order) * torch.exp((order - 1) * logs - torch.logsumexp(order * logs, 0))
    return (vectors * weights) @ vectors.T


def _checked_kernel(kernel: Tensor) -> tuple[Tensor, float]:
    """A kernel in float64, and the eigenvalue of K/n below which all is rounding."""
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1]:
        raise ValueError(f"Expected a square kernel, got one of shape {tuple(kernel.shape)}.")
    if not len(kernel):
        raise ValueError("The diversity of no items is not defined: give at least one.")
    # Rounding the entries of K to a precision eps disturbs the eigenvalues of K/n by about eps / sqrt(n).
    floor = max(SPECTRUM_FLOOR, 4 * _precision(kernel) / math.sqrt(len(kernel)))
    return require_finite(to_float64(kernel), "Similarities and features"), floor


def _smaller_gram(rows: Tensor) -> Tensor:
    return rows.T @ rows if len(rows) > rows.shape[1] else rows @ rows.T


def _joint(kernel: Tensor, condition: Tensor) -> Tensor:
    condition = require_finite(to_float64(torch.as_tensor(condition)), "Similarities and features").to(kernel.device)
    if condition.shape != kernel.shape:
        raise ValueError(
            f"Expected a condition for every pair of items, shape {tuple(kernel.shape)}, got {tuple(condition.shape)}."
        )
    return kernel * condition


def _row_index(rows: Tensor | None, x: Tensor) -> Tensor | slice:
    return slice(None) if rows is None else torch.as_tensor(rows, device=x.device)


def _root_weights(weights: Tensor | None, rows: Tensor) -> Tensor:
    """Square roots of the items' probabilities."""
    if weights is None:
        return rows.new_full((len(rows),), len(rows) ** -0.5)
    weights = to_float64(torch.as_tensor(weights)).to(rows.device)
    if weights.shape != (len(rows),):
        raise ValueError(f"Expected one weight an item, shape ({len(rows)},), got {tuple(weights.shape)}.")
    total = weights.sum()
    if not (torch.isfinite(total) and total > 0 and (weights >= 0).all()):
        raise ValueError("Weights must be non-negative and finite, and one of them positive.")
    return (weights / total).sqrt()


def _check_order(order: float) -> None:
    if not order > 0:
        raise ValueError(f"The order of a Vendi Score must be positive (or infinity), got {order}.")


def _precision(tensor: Tensor) -> float:
    return torch.finfo(tensor.dtype if tensor.is_floating_point() else torch.float64).eps
