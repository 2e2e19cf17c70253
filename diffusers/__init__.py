"""The guidances in pipelines of diffusers: steer a pipeline in one line, and sample as ever."""

from __future__ import annotations

if __name__ == "diffusers":
    # Python runs in this repository, where this folder hides the library of the same name.
    from .shadowed import load_library

    load_library(__name__)
else:
    from .image_report import report
    from .images import encode_images, exemplars, protect_folder
    from .initial_noise import initial_latents
    from .steering import Steering, steer, unsteer

    __all__ = [
        "Steering",
        "encode_images",
        "exemplars",
        "initial_latents",
        "protect_folder",
        "report",
        "steer",
        "unsteer",
    ]
