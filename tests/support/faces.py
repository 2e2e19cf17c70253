"""A photograph with a face: Eileen Collins, astronaut, by NASA, in the public domain; cut and encoded anew."""

from __future__ import annotations

from pathlib import Path

import torch
from diversity_guidance.features.image_files import as_tensor, read_image
from torch import Tensor

PHOTOGRAPH = Path(__file__).parents[1] / "host" / "custom_node" / "astronaut.jpg"


def photograph() -> Tensor:
    """(3, 256, 256) in 0 to 1; the face is about 110 pixels large."""
    return as_tensor(read_image(PHOTOGRAPH))


def without_face(seed: int = 0) -> Tensor:
    """Coloured clouds (3, 256, 256) in 0 to 1."""
    coarse = torch.rand((1, 3, 5, 5), generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (256, 256), mode="bicubic").clamp(0, 1)[0]
