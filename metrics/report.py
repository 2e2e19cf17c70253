"""The Diversity Report: all measures of a set of images as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .copies.search import LIMIT, copies
from .copies.selection import NEAREST_ONLY, pairs_to_compare, without_copies
from .copies.thumbnails import CopyThumbnails
from .faces.same_face import SameFace, face_measures
from .measures.fidelity import fidelity_measures
from .measures.groups import GroupReport, conditional_measures, group_reports, worst_group
from .measures.irs import retrieval_measures
from .measures.measure import Measure, named
from .measures.neighbours import Metric, ReferenceIndex
from .measures.pairs import NearDuplicates, Pair, near_duplicates, scan_pairs
from .measures.pairwise_distance import distance_measures, duplicate_measures
from .measures.retrieval import AdjustedScore, Retrieval, adjusted_score, measure_retrieval
from .measures.subsample import sample_note, sample_rows
from .measures.vendi_scores import spectrum, vendi_measures

NEIGHBOURS = 5
"""Default k of precision, recall, density and coverage."""

HARDLY_TOLD = (
    "These features hardly tell the images apart: they see little but what all share, such as a background. Others may "
    "see more."
)
"""Note for images of which few are near-duplicates and whose effective number is near 1 all the same."""

_SPECTRUM_KEPT = 64
_FEW, _MOST, _NEAR_ONE = 4, 0.8, 1.5


@dataclass(frozen=True)
class DiversityReport:
    """Measures of the diversity of a set of images.

    Attributes:
        space: tag of the feature space.
        images: number of images given.
        unmeasured: indices of images without finite features, which are excluded.
        measures: of all images together.
        groups: measures of each group, sorted by name.
        worst_group: name of the group with the smallest mean distance; None with fewer than two groups to compare.
        closest: the closest pairs, closest first.
        near_pairs: number of pairs of near-duplicates.
        duplicates: which images to keep so that no near-duplicates are left.
        spectrum: the largest eigenvalues of the kernel over n, as shares.
        retrieval: of references by the images.
        real_retrieval: of references by held-out real images.
        adjusted: the first relative to the second.
        faces: which images show the same face; None if that was not asked for.
        notes: sentences for the reader.
    """

    space: str
    images: int
    unmeasured: tuple[int, ...]
    measures: tuple[Measure, ...]
    groups: tuple[GroupReport, ...]
    worst_group: str | None
    closest: tuple[Pair, ...]
    near_pairs: int
    duplicates: NearDuplicates
    spectrum: tuple[float, ...]
    retrieval: Retrieval | None = None
    real_retrieval: Retrieval | None = None
    adjusted: AdjustedScore | None = None
    faces: SameFace | None = None
    notes: tuple[str, ...] = field(default=())

    def __getitem__(self, name: str) -> Measure:
        """The measure of a name, such as ``report["vendi_1"]``.

        Raises:
            KeyError: the report has none of that name.
        """
        return named(self.measures, name)


def measure(
    features: Tensor,
    space: str,
    *,
    duplicate_distance: float,
    thumbnails: CopyThumbnails | None = None,
    copy_limit: float = LIMIT,
    faces: SameFace | None = None,
    groups: Sequence[str] | None = None,
    references: Tensor | None = None,
    held_out: Tensor | None = None,
    neighbours: int = NEIGHBOURS,
    metric: Metric = "euclidean",
) -> DiversityReport:
    """Measure a set of images.

    Args:
        features: (n, d) unit rows, one for each image, in the order in which they were sampled; not finite for an image
            that could not be measured.
        space: tag of the feature space.
        duplicate_distance: distance of features below which two images are near-duplicates, 0 to 2; for sets without
            thumbnails.
        thumbnails: of the images, by which near-duplicates are told whatever the feature space; None without.
        copy_limit: residual below which one image is a copy of another, with thumbnails.
        faces: which images show the same face; None to leave that out.
        groups: name of each image's group; None for no breakdown.
        references: (m, d) unit rows of real images, such as a training set.
        held_out: (l, d) unit rows of further real images, none of them a reference, in random order.
        neighbours: k of precision, recall, density and coverage.
        metric: distance by which references are retrieved.

    Returns:
        The report. A measure that cannot be computed has no value and a note with the reason.

    Raises:
        ValueError: features of the wrong shape, another number of groups, or settings out of range.
    """
    check_settings(duplicate_distance, neighbours)
    if features.ndim != 2:
        raise ValueError(f"Expected features of shape (n, d), got {tuple(features.shape)}.")
    if groups is not None and len(groups) != len(features):
        raise ValueError(f"Expected the group of each of {len(features)} images, got {len(groups)}.")
    notes: list[str] = []
    measured = _measurable(features)
    unmeasured = tuple(torch.nonzero(~measured).flatten().tolist())
    if unmeasured:
        notes.append(f"{len(unmeasured)} of {len(features)} images could not be measured and count nowhere.")
    original = torch.nonzero(measured).flatten()
    sets = [features if not unmeasured else features[original]]
    for rows, kind in ((references, "reference"), (held_out, "held-out")):
        rows = features[:0] if rows is None else rows
        usable = _measurable(rows)
        if not usable.all():
            notes.append(f"{int((~usable).sum())} {kind} images could not be measured and count nowhere.")
            rows = rows[usable]
        sets.append(rows)
    images, reals, others = _with_featureless(sets)
    if len(images) < 2:
        notes.append(f"{len(images)} image{'s' * (len(images) != 1)}: there is nothing to compare.")

    rows = sample_rows(len(images))
    chosen, chosen_original = images[rows], original[rows]
    scan = scan_pairs(chosen, duplicate_distance)
    near, near_count = {"distance": duplicate_distance}, scan.near_count
    if thumbnails is None:
        duplicates = near_duplicates(chosen, duplicate_distance)
    else:
        pairs = pairs_to_compare(chosen)
        notes += [] if pairs is None else [NEAREST_ONLY]
        found = copies(thumbnails.take(chosen_original), copy_limit, pairs)
        duplicates = without_copies(len(chosen), found, copy_limit)
        near, near_count = {"residual": copy_limit}, len(found)
    note = sample_note(len(rows), len(images))
    closest = tuple(
        Pair(int(chosen_original[pair.first]), int(chosen_original[pair.second]), pair.distance)
        for pair in scan.closest
    )
    measures = [
        *vendi_measures(images, space),
        *distance_measures(scan, next(iter(closest), None), space, len(rows), note),
        *duplicate_measures(near_count, len(duplicates.kept), near, space, len(rows), note),
    ]
    measures += [] if faces is None else face_measures(faces)
    if thumbnails is not None and copy_limit >= LIMIT:  # with a stricter one, images may differ for want of looking
        notes += _hardly_told(measures, len(chosen))
    by_group = () if groups is None else group_reports(images, original, groups, space)
    measures += conditional_measures(by_group, space)
    retrieval = real_retrieval = adjusted = None
    if references is not None:
        measures += fidelity_measures(images, reals, space, neighbours)
        if len(reals) and len(images):
            index = ReferenceIndex(reals, metric)
            retrieved = index.nearest(images)
            retrieval = measure_retrieval(retrieved, len(reals))
            if len(others):
                retrieved_by_real = index.nearest(others)
                real_retrieval = measure_retrieval(retrieved_by_real, len(reals))
                draws = min(len(images), len(others))
                adjusted = adjusted_score(
                    retrieval if draws == len(images) else measure_retrieval(retrieved[:draws], len(reals)),
                    real_retrieval
                    if draws == len(others)
                    else measure_retrieval(retrieved_by_real[:draws], len(reals)),
                )
        measures += retrieval_measures(retrieval, real_retrieval, adjusted, space, len(images), len(reals))
    return DiversityReport(
        space=space,
        images=len(features),
        unmeasured=unmeasured,
        measures=tuple(measures),
        groups=by_group,
        worst_group=worst_group(by_group),
        closest=closest,
        near_pairs=near_count,
        duplicates=_renumbered(duplicates, chosen_original),
        spectrum=tuple(spectrum(images)[:_SPECTRUM_KEPT].tolist()) if len(images) else (),
        retrieval=retrieval,
        real_retrieval=real_retrieval,
        adjusted=adjusted,
        faces=faces,
        notes=tuple(notes),
    )


def check_settings(duplicate_distance: float | None, neighbours: int) -> None:
    """Refuse settings of ``measure`` that are out of range, before any image is read.

    Args:
        duplicate_distance: 0 to 2; None for the default of the feature space.
        neighbours: at least 1.

    Raises:
        ValueError: one of them is not.
    """
    if duplicate_distance is not None and not 0 <= duplicate_distance <= 2:
        raise ValueError(
            f"The distance of near-duplicates must lie between 0 and 2, got {duplicate_distance:g}. At 0 there are "
            "none; leave it out for the default of the feature space."
        )
    if neighbours < 1:
        raise ValueError(f"Precision and recall need at least 1 neighbour, got {neighbours}. Usual is {NEIGHBOURS}.")


def _hardly_told(measures: Sequence[Measure], count: int) -> list[str]:
    """A note if the images differ and the features hardly do."""
    values = {measure.name: measure.value or 0.0 for measure in measures}
    different, effective = values["different_images"], values["vendi_1"]
    return [HARDLY_TOLD] if different >= max(_FEW, _MOST * count) and effective < _NEAR_ONE else []


def _measurable(features: Tensor) -> Tensor:
    """Whether each row is finite, (n,), a few thousand rows at a time."""
    parts = [torch.isfinite(part).all(1) for part in features.split(8192)]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.bool)


def _with_featureless(sets: list[Tensor]) -> list[Tensor]:
    """Give images whose features are zero a common extra dimension, in all sets or in none."""
    blank = [(rows == 0).all(1, keepdim=True) for rows in sets]
    if not any(bool(part.any()) for part in blank):
        return sets
    return [torch.cat([rows, part.to(rows.dtype)], 1) for rows, part in zip(sets, blank, strict=True)]


def _renumbered(duplicates: NearDuplicates, original: Tensor) -> NearDuplicates:
    def names(indices: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(original[list(indices)].tolist()) if indices else ()

    return NearDuplicates(
        duplicates.distance, names(duplicates.kept), names(duplicates.rejected), names(duplicates.duplicate_of)
    )
