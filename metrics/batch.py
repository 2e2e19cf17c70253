"""Features and thumbnails of images in memory, such as a batch that was just sampled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import overload

import torch
from PIL import Image
from torch import Tensor

from ..features.space import FeatureSpace
from .figures.canvas import tile, to_pil

THUMBNAIL_SIDE = 256


def batch_features(images: Sequence[Tensor], space: FeatureSpace, progress: Callable[[], None] | None = None) -> Tensor:
    """Features (n, d) of images; NaN for an image that is not finite.

    Args:
        images: each (C, H, W) in 0 to 1; sizes may differ, channels beyond the third are dropped.
        space: a feature space of images.
        progress: called after every image.
    """
    features = torch.full((len(images), space.dimension), torch.nan)
    with torch.no_grad():
        for row, image in enumerate(images):
            if bool(image[:3].isfinite().all()):
                features[row] = space(image[None, :3])[0].cpu()
            if progress is not None:
                progress()
    return features


class Thumbnails(Sequence[Image.Image]):
    """Images as square Pillow images, converted when a figure asks for them.

    Args:
        images: each (C, H, W) in 0 to 1.
    """

    def __init__(self, images: Sequence[Tensor]) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    @overload
    def __getitem__(self, place: int) -> Image.Image: ...

    @overload
    def __getitem__(self, place: slice) -> Thumbnails: ...

    def __getitem__(self, place: int | slice) -> Image.Image | Thumbnails:
        if isinstance(place, slice):
            return Thumbnails(self._images[place])
        return tile(to_pil([self._images[place]])[0], THUMBNAIL_SIDE)
