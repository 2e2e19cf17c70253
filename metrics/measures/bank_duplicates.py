"""Near-duplicates of remembered images, in a sentence."""

from __future__ import annotations

import torch
from torch import Tensor

from ...kernels.similarity import unit_rows
from .neighbours import ReferenceIndex


def bank_duplicates(features: Tensor, remembered: Tensor, duplicate_distance: float) -> str:
    """Compare every image with its nearest remembered one.

    Args:
        features: (n, d) unit rows, NaN for an image that could not be measured.
        remembered: (m, d) features of the remembered images; rows that are not finite are left out.
        duplicate_distance: distance below which two images are near-duplicates.
    """
    remembered = unit_rows(remembered[remembered.isfinite().all(1)].float())
    numbers = torch.nonzero(features.isfinite().all(1)).flatten()
    if not len(remembered) or not len(numbers):
        return "The bank holds no images to compare with."
    measured = features[numbers]
    distances = (measured - remembered[ReferenceIndex(remembered).nearest(measured)]).norm(dim=1)
    closest = int(distances.argmin())
    repeats = int((distances < duplicate_distance).sum())
    told = f"{repeats} of {len(measured)} images repeat" if repeats else "None of the images repeats"
    return (
        f"{told} one of {len(remembered)} images of the bank almost exactly; the closest is image "
        f"{int(numbers[closest])} at distance {float(distances[closest]):.3g}, and the median distance is "
        f"{float(distances.median()):.3g}."
    )
