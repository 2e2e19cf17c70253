"""A Memory Bank's images as the report and Stop Early compare them: their previews and features."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ...features.space import FeatureSpace
from ...metrics.copies.thumbnails import CopyThumbnails
from ...metrics.known_features import known_features
from ...metrics.measures.bank_duplicates import MAX_PREVIEWS, bank_duplicates
from ...stores.bank.errors import BankError
from ...stores.bank.snapshot import BankSnapshot


def repeated_sentence(
    bank: BankSnapshot, images: Sequence[Tensor], limit: float, notes: list[str], tick: Callable[[], None]
) -> str:
    """Which images of a batch repeat one of a bank, told by the bank's previews.

    Args:
        bank: the bank.
        images: the batch, each (C, H, W) in 0 to 1.
        limit: residual below which one image is a copy of another.
        notes: gets a sentence where a file of the bank is damaged.
        tick: called now and then.
    """
    ids = [entry.id for entry in bank.entries]
    previews = previews_of(bank, ids[-MAX_PREVIEWS:], notes)
    return bank_duplicates(
        CopyThumbnails.of(images), CopyThumbnails.of(list(previews.values())), len(bank), limit, tick
    )


def remembered_features(
    bank: BankSnapshot, space: FeatureSpace, notes: list[str], tick: Callable[[], None], first: int | None = None
) -> Tensor:
    """Features (m, d) of a bank's images, oldest first: those stored for this space, or else those of its previews.

    Args:
        bank: the bank.
        space: of images.
        notes: gets a sentence where a file of the bank is damaged.
        tick: called after every preview.
        first: so many of the oldest images; None for all, of previews the newest 2,000.
    """
    try:
        _, features = bank.features(space.tag)
    except BankError as error:
        notes.append(str(error))
        features = torch.zeros(0)
    if len(features):
        return features[:first].float()
    entries = bank.entries[-MAX_PREVIEWS:] if first is None else bank.entries[:first]
    ids = [entry.id for entry in entries]
    previews = previews_of(bank, ids, notes)
    return known_features([previews[identity] for identity in ids if identity in previews], space, tick)


def previews_of(bank: BankSnapshot, ids: Sequence[str], notes: list[str]) -> dict[str, Tensor]:
    """Previews (3, H, W) in 0..1 of remembered images, by id."""
    try:
        found = bank.thumbnails(ids)
    except BankError as error:
        notes.append(str(error))
        return {}
    return {identity: preview.movedim(-1, 0).float() / 255 for identity, preview in found.items()}
