"""What comes through the sockets of the Diversity Report, as the report wants it.

Nothing here refuses what was drawn already: whatever does not fit becomes a sentence in the report.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ...features.space import FeatureSpace
from ...metrics.batch import Thumbnails, batch_features
from ...metrics.figures.batch_figures import GuidedRun
from ...stores.bank.errors import BankError
from ...stores.bank.snapshot import BankSnapshot
from ...stores.exemplar_set import ExemplarSet
from ..common.traces import RunTraces
from ..host.latents import plain_latents

NEWEST_PREVIEWS = 2000
"""Remembered pictures without features that are measured from their previews at most."""


def pictures_of(batches: Sequence[Tensor] | None) -> list[Tensor]:
    """All pictures (C, H, W) of a list of IMAGEs (B, H, W, C), whose sizes may differ."""
    return [picture.movedim(-1, 0) for batch in batches or () for picture in batch]


def exemplars_of(sets: Sequence[ExemplarSet] | None) -> list[Tensor]:
    """All exemplars (3, H, W) in 0 to 1."""
    return [picture.float() / 255 for exemplars in sets or () for picture in exemplars.pictures]


def images_of(pictures: Sequence[Tensor]) -> list[Tensor]:
    """Pictures (C, H, W) as a list of IMAGEs: one batch, or one of each where sizes differ."""
    if len({picture.shape for picture in pictures}) == 1:
        return [torch.stack([picture.movedim(0, -1) for picture in pictures])]
    return [picture.movedim(0, -1)[None] for picture in pictures]


def groups_of(texts: Sequence[str] | None, batches: Sequence[Tensor], notes: list[str]) -> list[str] | None:
    """The group of each picture: one text a batch, as prompts come along, or one line a picture.

    Args:
        texts: what was wired.
        batches: the IMAGEs.
        notes: gets a sentence where the texts do not fit.
    """
    if texts is None:
        return None
    if len(texts) > 1 and len(texts) == len(batches):
        return [text for text, batch in zip(texts, batches, strict=True) for _ in batch]
    lines = [line.strip() for text in texts for line in text.splitlines() if line.strip()]
    count = sum(len(batch) for batch in batches)
    if len(lines) == count:
        return lines
    notes.append(f"There are {len(lines)} groups for {count} images: give one line per image. Groups are left out.")
    return None


def guided_run(
    traces: RunTraces,
    samples: dict[str, Any],
    pictures: Sequence[Tensor],
    bank: BankSnapshot | None,
    notes: list[str],
) -> GuidedRun | None:
    """What guidance did in the run that made the samples.

    Args:
        traces: of a guided MODEL.
        samples: a LATENT.
        pictures: decoded from the samples; the middle frame stands for a video.
        bank: whose previews are shown.
        notes: gets a sentence where something does not fit.
    """
    try:
        latents = plain_latents(samples, "The samples")
    except ValueError as error:
        notes.append(str(error))
        return None
    trace = traces.of(latents)
    if trace is None:
        notes.append(
            "The trace does not know these samples: connect the latents of the guided model, before any change."
        )
        return None
    count = len(latents)
    if not pictures or len(pictures) % count:
        notes.append(f"There are {len(pictures)} images for {count} samples: connect the decoded samples.")
        return GuidedRun(trace, [], {})
    frames = len(pictures) // count
    ids = {contact.reference for sample in range(count) for contact in trace.contacts_of(sample)}
    previews = {} if bank is None else _previews(bank, sorted(ids), notes)
    thumbnails = dict(zip(previews, Thumbnails(list(previews.values())), strict=True))
    return GuidedRun(trace, Thumbnails(pictures[frames // 2 :: frames]), thumbnails)


def remembered_features(bank: BankSnapshot, space: FeatureSpace, notes: list[str], tick: Callable[[], None]) -> Tensor:
    """Features (m, d) of what a bank remembers: those that it keeps in this space, or else those of its previews.

    Args:
        bank: the bank.
        space: of pictures.
        notes: gets a sentence where a file of the bank is damaged.
        tick: called after every preview.
    """
    try:
        _, features = bank.features(space.tag)
    except BankError as error:
        notes.append(str(error))
        features = torch.zeros(0)
    if len(features):
        return features.float()
    ids = [entry.id for entry in bank.entries[-NEWEST_PREVIEWS:]]
    return batch_features(list(_previews(bank, ids, notes).values()), space, tick)


def _previews(bank: BankSnapshot, ids: Sequence[str], notes: list[str]) -> dict[str, Tensor]:
    """Previews (3, H, W) in 0 to 1 of remembered pictures, by id."""
    try:
        found = bank.thumbnails(ids)
    except BankError as error:
        notes.append(str(error))
        return {}
    return {identity: preview.movedim(-1, 0).float() / 255 for identity, preview in found.items()}
