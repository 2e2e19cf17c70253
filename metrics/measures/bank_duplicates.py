"""What a batch has in common with remembered images, in sentences."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...kernels.similarity import unit_rows
from ..copies.search import repeats
from ..copies.thumbnails import CopyThumbnails
from .neighbours import ReferenceIndex

MAX_PREVIEWS = 2000
"""Limit of remembered images that a batch is compared with."""

NOTHING = "The bank holds no images to compare with."


def bank_duplicates(
    images: CopyThumbnails, previews: CopyThumbnails, held: int, limit: float, step: Callable[[], None] | None = None
) -> str:
    """Which images repeat a remembered one, told by the images themselves.

    Args:
        images: the batch.
        previews: of the remembered images that were compared.
        held: number of images that the bank holds.
        limit: residual below which one image is a copy of another; 0 for no comparison.
        step: called now and then.
    """
    if not held:
        return NOTHING
    if limit <= 0:
        return "Whether images repeat one of the bank was not looked for: tolerance is 0."
    readable, compared = int((images.sides > 0).sum()), int((previews.sides > 0).sum())
    told = ""
    if readable and compared:
        found = sorted({pair.first for pair in repeats(images, previews, limit, step)})
        which = f": {', '.join(f'image {number}' for number in found)}" if found else ""
        verb = f"{len(found)} of {readable} images repeat{'s' * (len(found) == 1)}" if found else "No image repeats"
        told = f"{verb} one of {compared:,} images of the bank almost exactly{which}. "
    if compared < held:
        told += (
            f"{held - compared:,} of {held:,} images of the bank were not compared: only those with a preview are, the "
            f"newest {MAX_PREVIEWS:,} at most."
        )
    return told.strip() or NOTHING


def bank_distances(features: Tensor, remembered: Tensor) -> str:
    """How far the batch is from its nearest remembered images; "" where there is nothing to compare.

    Args:
        features: (n, d) unit rows, NaN for an image that could not be measured.
        remembered: (m, d) features of the remembered images; rows that are not finite are left out.
    """
    remembered = unit_rows(remembered[remembered.isfinite().all(1)].float())
    numbers = torch.nonzero(features.isfinite().all(1)).flatten()
    if not len(remembered) or not len(numbers):
        return ""
    measured = features[numbers]
    distances = (measured - remembered[ReferenceIndex(remembered).nearest(measured)]).norm(dim=1)
    closest = int(distances.argmin())
    return (
        f"In features, image {int(numbers[closest])} is the closest to the bank, at distance "
        f"{float(distances[closest]):.3g}; the median is {float(distances.median()):.3g}."
    )
