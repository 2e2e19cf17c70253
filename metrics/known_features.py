"""What is measured of images that come again with every queue, such as references: once."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..features.space import FeatureSpace
from .batch import batch_features

MAX_KNOWN = 20_000
"""Images of which something is kept in memory, those used last: 100 MB with 1,280 numbers each."""

_T = TypeVar("_T")

_known: OrderedDict[tuple[str, str], Any] = OrderedDict()


def known_features(images: Sequence[Tensor], space: FeatureSpace, tick: Callable[[], None]) -> Tensor:
    """Features (n, d) as ``batch_features`` gives them; an image is known again by its pixels, whatever its source.

    Args:
        images: each (C, H, W) in 0 to 1.
        space: a feature space of images.
        tick: called after every image.
    """
    rows = torch.full((len(images), space.dimension), torch.nan)
    found = known(images, space.tag, lambda image: batch_features([image], space)[0], tick)
    for row, features in enumerate(found):
        rows[row] = features
    return rows


def known(
    images: Sequence[Tensor], tag: str, measured: Callable[[Tensor], _T], tick: Callable[[], None]
) -> Iterator[_T]:
    """What is measured of each image; an image is known again by its pixels, whatever its source.

    Args:
        images: each (C, H, W) in 0 to 1.
        tag: of what is measured.
        measured: called with an image that is not known.
        tick: called after every image.
    """
    for image in images:
        key = tag, _digest(image)
        if key not in _known:
            _known[key] = measured(image)
        _known.move_to_end(key)
        yield _known[key]
        while len(_known) > MAX_KNOWN:
            _known.popitem(last=False)
        tick()


def _digest(image: Tensor) -> str:
    pixels = image.detach().cpu().contiguous()
    digest = hashlib.sha256(f"{pixels.dtype} {tuple(pixels.shape)}".encode())
    digest.update(pixels.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
