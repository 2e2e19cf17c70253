"""The embedded model: a tiny text-to-image model, and a sampling loop that runs it without ComfyUI."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .stable_diffusion_3 import EmbeddedPipeline

__all__ = ["pipeline"]


def pipeline(turbo: bool = False) -> EmbeddedPipeline:
    """The embedded model as a `StableDiffusion3Pipeline` of diffusers; nothing is downloaded.

    It makes images of 64 x 64 pixels. Meant are 24 steps at a guidance scale of 5, with ``turbo`` 8 steps at 1.

    Args:
        turbo: whether to load the weights that were distilled for few steps without classifier-free guidance.

    Raises:
        ModuleNotFoundError: diffusers is not installed.
    """
    # Here, as ComfyUI's nodes use parts of this room without diffusers.
    from .stable_diffusion_3 import load_pipeline

    return load_pipeline(turbo)
