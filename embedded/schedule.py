"""ComfyUI's "simple" schedule for rectified flows with shifted time (arXiv 2403.03206, section 5.3.2)."""

from __future__ import annotations

import torch
from torch import Tensor

SHIFT = 3.0
"""Stable Diffusion 3's time shift."""

TRAINED_LEVELS = 1000


def shifted(time: float | Tensor, shift: float = SHIFT) -> float | Tensor:
    """Noise level of a time in [0, 1]: shift t / (1 + (shift - 1) t)."""
    return shift * time / (1 + (shift - 1) * time)


def simple_schedule(steps: int, shift: float = SHIFT) -> Tensor:
    """Noise levels of all steps and the final 0, shape (steps + 1,), descending from 1.

    Raises:
        ValueError: the number of steps is below 1 or above 1000.
    """
    if not 1 <= steps <= TRAINED_LEVELS:
        raise ValueError(f"The number of steps must be between 1 and {TRAINED_LEVELS}, not {steps}.")
    stride = TRAINED_LEVELS / steps
    levels = [float(shifted((TRAINED_LEVELS - int(step * stride)) / TRAINED_LEVELS, shift)) for step in range(steps)]
    return torch.tensor([*levels, 0.0])


def sigma_at_percent(percent: float, shift: float = SHIFT) -> float:
    """Noise level at a place in the schedule, from 0 at its start to 1 at its end, as in ComfyUI."""
    return float(shifted(1.0 - min(max(percent, 0.0), 1.0), shift))
