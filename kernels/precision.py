"""Helpers for float64, rejecting NaN and infinity, and bounds on rounding."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def float64_device(device: torch.device) -> torch.device:
    """The device itself, or the CPU if it may lack float64 (MPS, some Intel GPUs)."""
    return device if device.type in ("cpu", "cuda") else torch.device("cpu")


def to_float64(tensor: Tensor) -> Tensor:
    """Detach a tensor and convert it to float64, on its own device where possible."""
    return tensor.detach().to(float64_device(tensor.device)).to(torch.float64)


def require_finite(tensor: Tensor, name: str) -> Tensor:
    """Return the tensor unchanged if it is finite.

    Raises:
        ValueError: it holds NaN or infinity; ``name`` is its name in the message, in the plural.
    """
    if not torch.isfinite(tensor).all():
        raise ValueError(f"{name} must be finite, but some are NaN or infinite.")
    return tensor


def product_rounding(dimension: int) -> float:
    """Bound on the error of |x|^2 + |z|^2 - 2 x.z relative to |x|^2 + |z|^2, for rows of ``dimension`` values.

    Products rounded to TF32 by a GPU have errors of 4e-4 each, which average out; the error of a float32 sum grows with
    the number of values (measured: 3e-6 for 65,536, 1e-5 for a million).
    """
    return 3e-3 / math.sqrt(dimension) + 1e-10 * dimension
