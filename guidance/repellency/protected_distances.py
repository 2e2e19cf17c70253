"""Distances of final images to those of a Protected Index, and which of them are inside a shield."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ...stores.protected.errors import IndexSpaceError, ProtectedIndexError
from ...stores.protected.index import ProtectedIndex
from ..base import shape_text
from ..latent_map import LatentMap
from .protected_search import nearest_images
from .protection_record import NearestHit, NearestReference


def latents_near(
    index: ProtectedIndex, latents: Sequence[Tensor], to_model_space: Callable[[Tensor], Tensor], radius: float
) -> tuple[NearestReference, ...]:
    """The nearest protected image of every latent.

    Args:
        index: of raw latents of the same format.
        latents: batches of raw latents, each (B, *index.shape).
        to_model_space: the latent format's map, by which distances are those of Sparse Repellency.
        radius: of the shields, in the model's space; 0 if it is unknown.

    Returns:
        One entry for each latent, numbered through all batches.

    Raises:
        IndexSpaceError: latents of another shape, or a format whose distances do not follow from raw latents.
        ProtectedIndexError: nothing is protected, or a file of the index is damaged.
    """
    _require_filled(index)
    for batch in latents:
        if tuple(batch.shape[1:]) != index.shape:
            raise IndexSpaceError(
                f"The protected index {index.folder.name} holds latents of {shape_text(index.shape)} and these samples "
                f"are of {shape_text(batch.shape[1:])}: nothing was compared. Build an index for this image size."
            )
    latent_map = LatentMap.fit(to_model_space, index.shape)
    if latent_map is None:
        raise IndexSpaceError(
            "The model's latent format mixes values, so that the samples cannot be compared with the protected index: "
            "connect the trace of Sparse Repellency, which compared them."
        )
    found: list[NearestReference] = []
    for batch in latents:
        raw = batch.detach().to("cpu", torch.float32).flatten(1)
        # Subtract the rounding error, or a latent on the surface could be reported inside.
        rounding = torch.finfo(batch.dtype).eps * latent_map.lengths(raw)
        nearest = nearest_images(index, latent_map, raw, radius)
        found += _numbered(nearest, (radius - rounding).tolist(), len(found))
    return tuple(found)


def features_near(index: ProtectedIndex, features: Tensor, radius: float) -> tuple[NearestReference, ...]:
    """The nearest protected image by its features.

    Args:
        index: of features of the same space.
        features: (n, d), NaN for an image that could not be measured.
        radius: distance below which an image counts as inside.

    Raises:
        ProtectedIndexError: nothing is protected, the features have another length, or a file is damaged.
    """
    _require_filled(index)
    distances, numbers = index.nearest(features)
    nearest = [
        NearestHit("" if number < 0 else index.name(number), distance)
        for distance, number in zip(distances[:, 0].tolist(), numbers[:, 0].tolist(), strict=True)
    ]
    return tuple(_numbered(nearest, [radius] * len(nearest), 0))


def _numbered(nearest: Sequence[NearestHit], radii: Sequence[float], first: int) -> list[NearestReference]:
    return [
        NearestReference(number, hit.image, hit.distance, hit.distance < radius)
        for number, (hit, radius) in enumerate(zip(nearest, radii, strict=True), start=first)
    ]


def _require_filled(index: ProtectedIndex) -> None:
    if not len(index):
        raise ProtectedIndexError(f"The protected index {index.folder.name} is empty: it protects nothing.")
