"""Conversion of the Diversity Report's inputs.

Inputs that do not fit together add a sentence to the report instead of an error, so that no finished image is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...metrics.batch import Thumbnails
from ...metrics.figures.batch_figures import GuidedRun
from ...stores.bank.snapshot import BankSnapshot
from ...stores.exemplar_set import ExemplarSet
from ..common.traces import RunTraces
from ..host.latents import plain_latents
from .remembered import previews_of


def images_of(batches: Sequence[Tensor] | None) -> list[Tensor]:
    """All images (C, H, W) of a list of IMAGEs (B, H, W, C), whose sizes may differ."""
    return [image.movedim(-1, 0) for batch in batches or () for image in batch]


def exemplars_of(sets: Sequence[ExemplarSet] | None) -> list[Tensor]:
    """All exemplars (3, H, W) in 0 to 1."""
    return [image.float() / 255 for exemplars in sets or () for image in exemplars.images]


def batches_of(images: Sequence[Tensor]) -> list[Tensor]:
    """Images (C, H, W) as a list of IMAGEs: one batch, or one IMAGE per image if sizes differ."""
    if len({image.shape for image in images}) == 1:
        return [torch.stack([image.movedim(0, -1) for image in images])]
    return [image.movedim(0, -1)[None] for image in images]


def groups_of(texts: Sequence[str] | None, batches: Sequence[Tensor], notes: list[str]) -> list[str] | None:
    """The group of each image, from one text per batch, such as its prompt, or one line per image.

    Args:
        texts: from the socket.
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
    images: Sequence[Tensor],
    bank: BankSnapshot | None,
    notes: list[str],
) -> GuidedRun | None:
    """The trace of the run that made the samples, with images.

    Args:
        traces: of a guided MODEL's runs.
        samples: a LATENT.
        images: decoded from the samples; a video is represented by its middle frame.
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
    if not images or len(images) % count:
        notes.append(f"There are {len(images)} images for {count} samples: connect the decoded samples.")
        return GuidedRun(trace, [], {})
    frames = len(images) // count
    ids = {contact.reference for sample in range(count) for contact in trace.contacts_of(sample)}
    previews = {} if bank is None else previews_of(bank, sorted(ids), notes)
    thumbnails = dict(zip(previews, Thumbnails(list(previews.values())), strict=True))
    return GuidedRun(trace, Thumbnails(images[frames // 2 :: frames]), thumbnails)
