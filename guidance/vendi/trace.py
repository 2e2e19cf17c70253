"""The record of Vendi Guidance for one evaluation of the model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..trace import CONTACTS_KEPT, Contact, SampleRecord, StepRecord
from .directions import Direction
from .run import StepContext


def step_record(
    method: str,
    context: StepContext,
    delta: Tensor,
    clipped: Tensor,
    eased: Tensor,
    diversity: Direction | None,
    ids: Sequence[str],
) -> StepRecord:
    """The record of one evaluation.

    Args:
        method: the guidance's name.
        context: of the evaluation.
        delta: corrections, (b, D).
        clipped: which of the pushes the norm clip shortened, (b,).
        eased: the part of the corrections that eases CFG, (b, D).
        diversity: with distances to the bank, then to the batch; None if there are none.
        ids: identities of the bank's images.
    """
    rows = context.rows.tolist()
    sizes = context.estimate.norm(dim=1).clamp_min(1e-12)
    shares = [(part.norm(dim=1) / sizes).tolist() for part in (delta, eased)]
    names = [*ids, *(f"batch:{row}" for row in rows)]
    nearest: list[tuple[Contact, ...]] = [()] * len(rows) if diversity is None else _nearest(diversity, names)
    samples = [
        SampleRecord(
            row,
            correction,
            contacts[0].distance if contacts else torch.inf,
            contacts,
            bool(shortened),
            easing,
        )
        for row, correction, easing, contacts, shortened in zip(rows, *shares, nearest, clipped, strict=True)
    ]
    return StepRecord(method, context.step.sigma, context.step.progress, 0.0, tuple(samples))


def _nearest(diversity: Direction, names: Sequence[str]) -> list[tuple[Contact, ...]]:
    """The most similar other images of each image, nearest first."""
    count = min(CONTACTS_KEPT, diversity.distances.shape[1])
    found = diversity.distances.topk(count, largest=False)
    return [
        tuple(
            Contact(names[int(index)], distance)
            for distance, index in zip(distances, indices, strict=True)
            if distance < torch.inf
        )
        for distances, indices in zip(found.values.tolist(), found.indices.tolist(), strict=True)
    ]
