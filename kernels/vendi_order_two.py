"""Gradient of the log Vendi Score of order 2 (RKE, arXiv 2310.12952; SPARKE, 2506.10173) for few rows beside many.

VS_2 = n^2 / |K|_F^2 needs no spectrum: the gradient with respect to row i is a sum over its own similarities alone, so
that ten thousand constant rows cost one matrix product.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .similarity import gaussian_kernel


def order_two_force(
    rows: Tensor, others: Tensor, bandwidth: float | None = None, condition: Tensor | None = None
) -> Tensor:
    """|K|_F^2 / 4 times the gradient of log VS_2 of rows and others together with respect to the rows.

    The norm of the whole kernel is one positive number for all rows, the only thing that would take a product over all
    pairs of the others.

    Args:
        rows: (r, d) that may move, floating; of unit length for the cosine kernel.
        others: (m, d) constant ones.
        bandwidth: width of the Gaussian kernel; None for the cosine kernel.
        condition: (r, r + m) similarities of the conditions of rows to those of rows and others; None without.

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
            # A row's own similarity is 1 whatever its direction is: its pull is radial, as in the full gradient.
            force = force - (rows @ block.T * weight) @ block
        else:
            pull = gaussian_kernel(rows, block, bandwidth=bandwidth).square() * weight
            force = force + (pull.sum(1, keepdim=True) * rows - pull @ block) / bandwidth**2
    return force
