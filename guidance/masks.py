"""Where an inpainting mask lets a picture change."""

from __future__ import annotations

from torch import Tensor

from .contract import SamplingRun


def movable(mask: Tensor, run: SamplingRun) -> Tensor:
    """Where latents may change, shape (D,) of 0 and 1: where the mask lets at least half through for every sample.

    Samples with masks of their own are compared where all of them may change, so that a distance means the same for
    each.
    """
    samples = len(mask) if mask.ndim > len(run.latent_shape) else 1
    full = mask.to(run.device).broadcast_to((samples, *run.latent_shape))
    return (full.flatten(1) >= 0.5).all(0).float()
