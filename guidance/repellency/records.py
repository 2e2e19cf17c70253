"""The records of Sparse Repellency for an evaluation and for the end of a run."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ...kernels.shields.field import Contacts, working_points
from ..references import MASK_HOLDS_ALL, MASKS_SHARE_NOTHING, Ids
from ..trace import CONTACTS_KEPT, Contact, SampleRecord, Violation, name_images
from .shields import Shields


def sample_records(
    delta: Tensor, denoised: Tensor, shields: Shields, clipped: Tensor, eased: Tensor
) -> tuple[SampleRecord, ...]:
    """The records of all samples at one evaluation.

    Args:
        delta: corrections, shape (B, D).
        denoised: the estimates, shape (B, C, ...).
        shields: around the measured estimates.
        clipped: whether the norm clip shortened the push, shape (B,).
        eased: the part of the corrections that eases CFG, shape (B, D).
    """
    sizes = working_points(denoised).norm(dim=1).clamp_min(1e-12)
    moves, easings = (delta.norm(dim=1) / sizes).tolist(), (eased.norm(dim=1) / sizes).tolist()
    touched: list[list[Contact]] = [[] for _ in moves]
    for contacts, names in _named_contacts(shields):
        for row, index, distance in triples(contacts):
            touched[row].append(Contact(names[index], distance))
    return tuple(
        SampleRecord(
            sample,
            moves[sample],
            distance,
            tuple(sorted(touched[sample], key=lambda contact: contact.distance)[:CONTACTS_KEPT]),
            bool(clipped[sample]),
            easings[sample],
        )
        for sample, distance in enumerate(shields.nearest().tolist())
    )


def violations(shields: Shields) -> list[Violation]:
    """The contacts that remain."""
    radii = (shields.contact_radii.tolist(), shields.pair_radii.tolist())
    return [
        Violation(row, names[index], distance, radius)
        for (contacts, names), limits in zip(_named_contacts(shields), radii, strict=True)
        for (row, index, distance), radius in zip(triples(contacts), limits, strict=True)
    ]


def why_uncompared(shields: Shields, *, protected: bool) -> str:
    """Why masks leave nothing to keep apart in a run, as the end of a sentence; "" if they do not.

    Args:
        shields: around the final latents.
        protected: whether there are protected images beside the references.
    """
    mask = shields.references.mask
    if mask is None:
        return ""
    if not bool(mask.fractions.any()):
        return MASK_HOLDS_ALL
    if protected or len(shields.references) or bool(mask.common_fractions.triu(1).any()):
        return ""
    return MASKS_SHARE_NOTHING


def mask_notes(shields: Shields, *, guaranteed: bool, protected: bool) -> list[str]:
    """Notes on what could not be compared under a denoise mask: fixed samples, and pairs without a common free part.

    Args:
        shields: around the final latents.
        guaranteed: whether a guarantee was requested.
        protected: whether the protection's record names the fixed samples.
    """
    mask = shields.references.mask
    if mask is None:
        return []
    free = mask.fractions > 0
    notes = []
    if not protected and (held := (~free).nonzero().flatten().tolist()):
        what = "Nothing is guaranteed for" if guaranteed else "Nothing was done for"
        notes.append(f"{what} {name_images(held)}, where a mask lets nothing change.")
    if shields.radii.pairs is not None:
        apart = (mask.common_fractions == 0) & free & free[:, None]
        if pairs := apart.triu(1).nonzero().tolist():
            notes.append(_unshared(pairs))
    return notes


def _unshared(pairs: Sequence[Sequence[int]]) -> str:
    told = f"{name_images(pairs[0]).capitalize()} were not kept apart: their masks share nothing that may change."
    if len(pairs) > 1:
        told += f" Nor were {len(pairs) - 1} other pairs." if len(pairs) > 2 else " Nor was 1 other pair."
    return told


def _named_contacts(shields: Shields) -> tuple[tuple[Contacts, Ids | Sequence[str]], ...]:
    """Contacts with references and among the batch, and the names of both."""
    members = [f"batch:{index}" for index in range(len(shields.points))]
    return (shields.fixed.contacts, shields.references.ids), (shields.among.contacts, members)


def triples(contacts: Contacts) -> list[tuple[int, int, float]]:
    """Row, reference and distance of every pair."""
    columns = contacts.rows.tolist(), contacts.references.tolist(), contacts.distances.tolist()
    return list(zip(*columns, strict=True))
