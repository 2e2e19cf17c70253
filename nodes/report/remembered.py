"""A Memory Bank's images as the report and Stop Early compare them: their previews and features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ...features.space import FeatureSpace
from ...metrics.copies.thumbnails import CopyThumbnails
from ...metrics.known_features import known_features
from ...metrics.measures.bank_duplicates import MAX_PREVIEWS, bank_duplicates
from ...stores.bank.errors import BankError
from ...stores.bank.snapshot import BankSnapshot


def repeated_sentence(
    bank: BankSnapshot,
    images: Sequence[Tensor],
    previews: Mapping[str, Tensor],
    limit: float,
    tick: Callable[[], None],
) -> str:
    """Which images of a batch repeat one of a bank, told by the bank's previews.

    Args:
        bank: the bank.
        images: the batch, each (C, H, W) in 0 to 1.
        previews: of the bank's newest images, by id.
        limit: residual below which one image is a copy of another.
        tick: called now and then.
    """
    return bank_duplicates(
        CopyThumbnails.of(images), CopyThumbnails.of(list(previews.values())), len(bank), limit, tick
    )


def remembered_features(
    bank: BankSnapshot,
    space: FeatureSpace,
    notes: list[str],
    tick: Callable[[], None],
    first: int | None = None,
    previews: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """Features (m, d) of a bank's images, oldest first: those stored for this space, or else those of its previews.

    Args:
        bank: the bank.
        space: of images.
        notes: gets a sentence where a file of the bank is damaged.
        tick: called after every preview.
        first: so many of the oldest images; None for all, of previews the newest 2,000.
        previews: of these by id, where they have been read; None to read them if they are needed.
    """
    try:
        _, features = bank.features(space.tag)
    except BankError as error:
        notes.append(str(error))
        features = torch.zeros(0)
    if len(features):
        return features[:first].float()
    ids = newest_ids(bank) if first is None else [entry.id for entry in bank.entries[:first]]
    previews = previews_of(bank, ids, notes) if previews is None else previews
    return known_features([previews[identity] for identity in ids if identity in previews], space, tick)


def newest_ids(bank: BankSnapshot) -> list[str]:
    """Ids of the images that a batch is compared with, oldest first."""
    return [entry.id for entry in bank.entries[-MAX_PREVIEWS:]]


def previews_of(bank: BankSnapshot, ids: Sequence[str], notes: list[str]) -> dict[str, Tensor]:
    """Previews (3, H, W) in 0..1 of remembered images, by id."""
    try:
        found = bank.thumbnails(ids)
    except BankError as error:
        notes.append(str(error))
        return {}
    return {identity: preview.movedim(-1, 0).float() / 255 for identity, preview in found.items()}
