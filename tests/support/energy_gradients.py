"""Gradients of the energy distances, by the directions and slopes that measure quantization uses."""

from __future__ import annotations

import torch
from diversity_guidance.kernels.energy import SMOOTHING, mean_direction, mean_distance_slope, working_rows
from torch import Tensor


def huber_energy_gradient(points: Tensor, samples: Tensor, smoothing: float = SMOOTHING) -> Tensor:
    """Gradient of ``huber_energy_distance`` with respect to the points; coincident points do not push each other."""
    x, z = working_rows(points, "points"), working_rows(samples, "samples")
    gradient = mean_direction(x, z, smoothing) - mean_direction(x, x, smoothing)
    return (gradient / len(x)).view(points.shape)


def gaussian_energy_gradient(points: Tensor) -> Tensor:
    """Gradient of ``gaussian_energy_distance`` with respect to the points."""
    x = working_rows(points, "points")
    radius = x.norm(dim=1)
    slope = torch.from_numpy(mean_distance_slope(radius.cpu().numpy(), x.shape[1])).to(x)
    outwards = x / radius.clamp_min(torch.finfo(x.dtype).tiny)[:, None]
    return ((slope[:, None] * outwards - mean_direction(x, x, 0.0)) / len(x)).view(points.shape)
