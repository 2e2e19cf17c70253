"""The Diversity Report of Pillow images, such as a pipeline returns."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from ..features.image_files import as_tensor
from ..features.random_network import RandomNetwork
from ..features.space import FeatureSpace
from ..metrics.batch import batch_features
from ..metrics.copies.thumbnails import CopyThumbnails
from ..metrics.report import DiversityReport, measure


def report(
    images: Sequence[Image.Image], *, groups: Sequence[str] | None = None, space: FeatureSpace | None = None
) -> DiversityReport:
    """Measure how different images are.

    Args:
        images: in the order in which they were sampled.
        groups: name of each image's group, such as its prompt; None for no breakdown.
        space: feature space of images; a network with random weights, which needs no download, by default.

    Raises:
        ValueError: another number of groups than images.
    """
    space = space or RandomNetwork()
    tensors = [as_tensor(image.convert("RGB")) for image in images]
    return measure(
        batch_features(tensors, space),
        space.tag,
        duplicate_distance=space.duplicate_distance,
        thumbnails=CopyThumbnails.of(tensors),
        groups=groups,
    )
