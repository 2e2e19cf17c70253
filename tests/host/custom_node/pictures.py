"""Pictures that no stock node makes: none at all, not a number, of several sizes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def smooth(count: int, height: int = 48, width: int = 48, seed: int = 0) -> Tensor:
    """Colourful pictures (count, height, width, 3), each unlike the others."""
    coarse = torch.rand((count, 3, 4, 4), generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1).movedim(1, -1)


def with_nan() -> Tensor:
    """Four pictures, the second of which is not a number."""
    pictures = smooth(4)
    pictures[1] = torch.nan
    return pictures


def with_copies() -> Tensor:
    """Five pictures, of which the third and the last one are the first one again, almost."""
    first, second, fourth = smooth(3)
    return torch.stack([first, second, first, fourth, first + 0.001]).clamp(0, 1)


def faces() -> list[Tensor]:
    """A photograph with a face, without one, and the first one mirrored, darker and in another size."""
    with Image.open(Path(__file__).with_name("astronaut.jpg")) as file:
        pixels = torch.from_numpy(np.array(file.convert("RGB"))).float()[None] / 255
    larger = torch.nn.functional.interpolate(pixels.movedim(-1, 1), (300, 300), mode="bilinear").movedim(1, -1)
    return [pixels, smooth(1, 256, 256), pixels.flip(2), pixels * 0.7, larger]


KINDS: dict[str, Callable[[], list[Tensor]]] = {
    "none": lambda: [smooth(1)[:0]],
    "one": lambda: [smooth(1)],
    "three": lambda: [smooth(3)],
    "twelve": lambda: [smooth(12)],
    "twelve others": lambda: [smooth(12, seed=1)],
    "many": lambda: [smooth(3000, 8, 8)],
    "not a number": lambda: [torch.full((3, 48, 48, 3), torch.nan)],
    "one not a number": lambda: [with_nan()],
    "with copies": lambda: [with_copies()],
    "grey": lambda: [torch.full((3, 48, 48, 3), 0.5)],
    "faces": faces,
    "several sizes": lambda: [smooth(2), smooth(1, 32, 80, seed=1), smooth(1)],
    "one channel": lambda: [smooth(3)[..., :1]],
    "two channels": lambda: [smooth(3)[..., :2]],
    "transparent": lambda: [torch.cat([smooth(3), torch.full((3, 48, 48, 1), torch.nan)], 3)],
}


class TestPictures:
    """A list of IMAGEs."""

    CATEGORY = "tests"
    FUNCTION = "make"
    RETURN_TYPES = ("IMAGE",)
    OUTPUT_IS_LIST = (True,)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"kind": (list(KINDS),)}}

    def make(self, kind: str) -> tuple[list[Tensor]]:
        return (KINDS[kind](),)
