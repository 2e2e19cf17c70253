"""Numbers on their way into half precision, refused where they would not survive it, and back."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

OVERFLOW = 65520.0
"""From here on values round to infinity."""


def require_storable(values: Tensor, what: str, dtype: torch.dtype = torch.float16) -> None:
    """Check that values are finite and stay so in the dtype; in float32, half precision is slow on many CPUs.

    Args:
        values: any shape with at least one value, any floating dtype.
        what: the thing that they are, for the message.
        dtype: in which they will be stored.

    Raises:
        ValueError: they are not.
    """
    largest = float(values.detach().to("cpu", torch.float32).abs().amax())
    if not math.isfinite(largest):
        raise ValueError(
            f"{what} holds NaN or infinite values, so nothing was stored. Check the model and its settings."
        )
    if dtype == torch.float16 and largest >= OVERFLOW:
        raise ValueError(
            f"{what} holds the value {largest:.6g}, beyond what half precision stores, so nothing was stored. "
            "Check that these are latents of a VAE."
        )


def from_half(halves: NDArray[np.float16]) -> NDArray[np.float32]:
    """The same numbers; by torch, since NumPy converts them one by one, ten times as slowly."""
    return torch.from_numpy(halves).float().numpy()
