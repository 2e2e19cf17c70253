"""Pictures that are in memory, such as a batch that was just drawn: their features and their thumbnails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import overload

import torch
from PIL import Image
from torch import Tensor

from ..features.space import FeatureSpace
from .figures.canvas import tile, to_images

THUMBNAIL_SIDE = 256


def batch_features(
    pictures: Sequence[Tensor], space: FeatureSpace, progress: Callable[[], None] | None = None
) -> Tensor:
    """Features (n, d) of pictures, NaN for one that holds numbers that are not finite.

    Args:
        pictures: each (C, H, W) in 0 to 1; sizes may differ, channels beyond the third are left out.
        space: of pictures.
        progress: called after every picture.
    """
    features = torch.full((len(pictures), space.dimension), torch.nan)
    with torch.no_grad():
        for row, picture in enumerate(pictures):
            if bool(picture[:3].isfinite().all()):
                features[row] = space(picture[None, :3])[0].cpu()
            if progress is not None:
                progress()
    return features


class Thumbnails(Sequence[Image.Image]):
    """Pictures as square images, made one by one when a figure asks for them.

    Args:
        pictures: each (C, H, W) in 0 to 1.
    """

    def __init__(self, pictures: Sequence[Tensor]) -> None:
        self._pictures = pictures

    def __len__(self) -> int:
        return len(self._pictures)

    @overload
    def __getitem__(self, place: int) -> Image.Image: ...

    @overload
    def __getitem__(self, place: slice) -> Thumbnails: ...

    def __getitem__(self, place: int | slice) -> Image.Image | Thumbnails:
        if isinstance(place, slice):
            return Thumbnails(self._pictures[place])
        return tile(to_images([self._pictures[place]])[0], THUMBNAIL_SIDE)
