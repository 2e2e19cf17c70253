"""What Sparse Repellency tells of an evaluation and of the end of a run."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ...kernels.shields.field import Contacts, ShieldField, working_points
from ..references import Ids
from ..trace import (
    CONTACTS_KEPT,
    Contact,
    SampleRecord,
    Violation,
)


def sample_records(
    delta: Tensor, denoised: Tensor, nearest: Tensor, fixed: ShieldField, among: ShieldField, capped: Tensor, ids: Ids
) -> tuple[SampleRecord, ...]:
    """What happened to each estimate at one evaluation.

    Args:
        delta: what it was moved by, shape (B, D).
        denoised: the estimates, shape (B, C, ...).
        nearest: distance to the nearest reference or member of the batch, shape (B,).
        fixed: shields around the references.
        among: shields around the members of the batch.
        capped: whether the cap shortened the push, shape (B,).
        ids: identities of the references.
    """
    share = (delta.norm(dim=1) / working_points(denoised).norm(dim=1).clamp_min(1e-12)).tolist()
    touched: list[list[Contact]] = [[] for _ in share]
    members = [f"batch:{index}" for index in range(len(among.nearest))]
    sides: tuple[tuple[Contacts, Ids | Sequence[str]], ...] = ((fixed.contacts, ids), (among.contacts, members))
    for contacts, names in sides:
        for row, index, distance in triples(contacts):
            touched[row].append(Contact(names[index], distance))
    return tuple(
        SampleRecord(
            sample,
            share[sample],
            distance,
            tuple(sorted(touched[sample], key=lambda contact: contact.distance)[:CONTACTS_KEPT]),
            len(touched[sample]),
            bool(capped[sample]),
        )
        for sample, distance in enumerate(nearest.tolist())
    )


def violations(contacts: Contacts, ids: Ids, radius: float) -> list[Violation]:
    """The pairs that could not be parted; references are numbered before the members of the batch."""
    count = len(ids)
    return [
        Violation(row, ids[index] if index < count else f"batch:{index - count}", distance, radius)
        for row, index, distance in triples(contacts)
    ]


def triples(contacts: Contacts) -> list[tuple[int, int, float]]:
    """Row, reference and distance of every pair."""
    columns = contacts.rows.tolist(), contacts.references.tolist(), contacts.distances.tolist()
    return list(zip(*columns, strict=True))
