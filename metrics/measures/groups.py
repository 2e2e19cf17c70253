"""Breakdown by group, such as a prompt, a tag or a region, and the least diverse group (arXiv 2406.04551).

Conditional scores (arXiv 2411.02817) tell what the images of one prompt differ by, whatever the prompts differ by.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .measure import Measure, named
from .pairs import scan_pairs
from .pairwise_distance import mean_measure
from .subsample import sample_note, sample_rows
from .vendi_scores import EQUAL, equal_vendi, vendi_measures


@dataclass(frozen=True)
class GroupReport:
    """Measures of one group, such as the images of a prompt.

    Attributes:
        name: of the group.
        indices: of its images.
        measures: Vendi Scores, the mean distance, and where groups differ in size the Vendi Score among as many images
            as the smallest group of at least two has.
    """

    name: str
    indices: tuple[int, ...]
    measures: tuple[Measure, ...]

    def __getitem__(self, name: str) -> Measure:
        """The measure of a name."""
        return named(self.measures, name)


def group_reports(features: Tensor, original: Tensor, groups: Sequence[str], space: str) -> tuple[GroupReport, ...]:
    """Measure every group by itself.

    Args:
        features: (n, d) unit rows.
        original: (n,) index of each row's image.
        groups: name of each image's group.
        space: tag of the feature space.

    Returns:
        Groups sorted by name.
    """
    members: dict[str, list[int]] = {}
    for row, index in enumerate(original.tolist()):
        members.setdefault(str(groups[index]), []).append(row)
    sizes = {len(rows) for rows in members.values()}
    equal = min((size for size in sizes if size > 1), default=0) if len(sizes) > 1 else 0
    reports = []
    for name in sorted(members):
        rows = torch.tensor(members[name])
        chosen = rows[sample_rows(len(rows))]
        scan = scan_pairs(features[chosen], 0.0, keep=1)
        mean = mean_measure(scan, space, len(chosen), sample_note(len(chosen), len(rows)))
        measures = [*vendi_measures(features[rows], space), mean]
        if equal:
            measures.append(_among_equally_many(features[rows], equal, space))
        reports.append(GroupReport(name, tuple(original[rows].tolist()), tuple(measures)))
    return tuple(reports)


def conditional_measures(groups: Sequence[GroupReport], space: str) -> list[Measure]:
    """Conditional Vendi Score and conditional RKE of images given their group.

    exp H(X | T) with H(X | T) = H(X, T) - H(T) of matrix-based entropies of order 1 and of order 2; the joint kernel is
    the product of those of images and of groups (2411.02817). Two groups are the same or have nothing in common, so
    that the joint kernel falls into the groups' own: order 1 becomes the geometric mean of the groups' Vendi Scores,
    weighted by size, and order 2 the harmonic one, weighted by size squared.

    Args:
        groups: all of them.
        space: tag of the feature space.
    """
    sizes = [len(group.indices) for group in groups]
    count = sum(sizes)
    scores = {name: [group[name].value or 1.0 for group in groups] for name in ("vendi_1", "vendi_2")}
    if not count:
        return []
    entropy = sum(size * math.log(score) for size, score in zip(sizes, scores["vendi_1"], strict=True)) / count
    collisions = sum(size**2 / score for size, score in zip(sizes, scores["vendi_2"], strict=True))
    values = {"vendi_1": math.exp(entropy), "vendi_2": sum(size**2 for size in sizes) / collisions}
    parameters = {"groups": float(len(groups))}
    return [
        Measure(f"{name}_conditional", value, space, count, parameters=parameters) for name, value in values.items()
    ]


def _among_equally_many(features: Tensor, size: int, space: str) -> Measure:
    """The score that compares groups of different sizes."""
    parameters = {"order": 1.0, "each": float(size)}
    if len(features) < size:
        note = f"Fewer than {size} images."
        return Measure(EQUAL, None, space, len(features), parameters=parameters, note=note)
    note = f"Mean of random choices of {size:,} images with seed 0." if len(features) > size else ""
    return Measure(EQUAL, equal_vendi(features, size), space, len(features), parameters=parameters, note=note)


def worst_group(groups: Sequence[GroupReport]) -> str | None:
    """The group with the smallest mean distance, which does not grow with the group, as a Vendi Score does."""
    distances = {group.name: group["mean_distance"].value for group in groups}
    known = {name: value for name, value in distances.items() if value is not None}
    return min(known, key=lambda name: known[name]) if len(known) > 1 else None
