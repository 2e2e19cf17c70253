"""What Vendi Guidance writes down of one evaluation of the model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..trace import (
    CONTACTS_KEPT,
    Contact,
    SampleRecord,
    StepRecord,
)
from .directions import Direction
from .run import Moment


def step_record(
    method: str, now: Moment, delta: Tensor, clipped: Tensor, away: Direction | None, ids: Sequence[str]
) -> StepRecord:
    """The record of one evaluation.

    Args:
        method: the guidance's name.
        now: the evaluation.
        delta: corrections, (b, D).
        clipped: which of them were shortened, (b,).
        away: distances to the bank, then to the batch; None where nothing was to be kept away from.
        ids: identities of the bank's pictures.
    """
    rows = now.rows.tolist()
    share = (delta.norm(dim=1) / now.estimate.norm(dim=1).clamp_min(1e-12)).tolist()
    names = [*ids, *(f"batch:{row}" for row in rows)]
    nearest: list[tuple[Contact, ...]] = [()] * len(rows) if away is None else _nearest(away, names)
    samples = [
        SampleRecord(
            row,
            share[place],
            nearest[place][0].distance if nearest[place] else torch.inf,
            nearest[place],
            len(nearest[place]),
            bool(clipped[place]),
        )
        for place, row in enumerate(rows)
    ]
    return StepRecord(method, now.step.sigma, now.step.progress, 0.0, tuple(samples))


def _nearest(away: Direction, names: Sequence[str]) -> list[tuple[Contact, ...]]:
    """The most similar other pictures of each picture, nearest first."""
    count = min(CONTACTS_KEPT, away.distances.shape[1])
    found = away.distances.topk(count, largest=False)
    return [
        tuple(
            Contact(names[int(index)], distance)
            for distance, index in zip(distances, places, strict=True)
            if distance < torch.inf
        )
        for distances, places in zip(found.values.tolist(), found.indices.tolist(), strict=True)
    ]
