"""Breakdown by group, such as a prompt, a tag or a region, and the least diverse group (arXiv 2406.04551)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .measure import Measure, named
from .pairs import scan_pairs
from .pairwise_distance import mean_measure
from .subsample import sample_note, sample_rows
from .vendi_scores import vendi_measures


@dataclass(frozen=True)
class GroupReport:
    """Measures of one group, such as the images of a prompt.

    Attributes:
        name: of the group.
        indices: of its images.
        measures: Vendi Scores and the mean distance.
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
    reports = []
    for name in sorted(members):
        rows = torch.tensor(members[name])
        chosen = rows[sample_rows(len(rows))]
        scan = scan_pairs(features[chosen], 0.0, keep=1)
        mean = mean_measure(scan, space, len(chosen), sample_note(len(chosen), len(rows)))
        indices = tuple(original[rows].tolist())
        reports.append(GroupReport(name, indices, (*vendi_measures(features[rows], space), mean)))
    return tuple(reports)


def worst_group(groups: Sequence[GroupReport]) -> str | None:
    """The group with the smallest mean distance, which does not grow with the group, as a Vendi Score does."""
    distances = {group.name: group["mean_distance"].value for group in groups}
    known = {name: value for name, value in distances.items() if value is not None}
    return min(known, key=lambda name: known[name]) if len(known) > 1 else None
