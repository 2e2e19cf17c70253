"""Coverage by group: the paper claims that the worst groups gain most (arXiv 2406.04551)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...embedded.judge import Verdict
from ...embedded.reals import RealImages

ATTRIBUTES = ("skin", "vendor")


@dataclass(frozen=True)
class GroupShare:
    """One group over all prompts that leave its attribute open.

    Attributes:
        attribute: "skin" or "vendor".
        group: such as "dark-skin".
        known: modes of this group that the prompts leave open, summed over prompts and seeds.
        reached: modes of these that a faithful image within the quality limit shows.
        images: fraction of these prompts' images that show the group.
    """

    attribute: str
    group: str
    known: int
    reached: int
    images: float

    @property
    def coverage(self) -> float:
        """Share of the group's modes that are reached."""
        return self.reached / self.known


def group_shares(batches: Sequence[tuple[str, Sequence[Verdict]]], reals: RealImages) -> tuple[GroupShare, ...]:
    """Count by skin tone and vendor.

    Args:
        batches: prompts and the verdicts on their images.
        reals: give the modes of a prompt.
    """
    shares = []
    for attribute in ATTRIBUTES:
        known: dict[str, int] = {}
        reached: dict[str, int] = {}
        shown: dict[str, int] = {}
        total = 0
        for prompt, verdicts in batches:
            modes = reals.modes(prompt)
            if len({getattr(mode, attribute) for mode in modes}) < 2:
                continue
            total += len(verdicts)
            good = {v.mode for v in verdicts if v.faithful and v.rmse <= reals.quality_limit}
            for mode in modes:
                known[getattr(mode, attribute)] = known.get(getattr(mode, attribute), 0) + 1
            for mode in good:
                reached[getattr(mode, attribute)] = reached.get(getattr(mode, attribute), 0) + 1
            for verdict in verdicts:
                group = getattr(verdict.mode, attribute)
                shown[group] = shown.get(group, 0) + 1
        shares += [
            GroupShare(attribute, group, count, reached.get(group, 0), shown.get(group, 0) / total)
            for group, count in sorted(known.items())
        ]
    return tuple(shares)


def worst_group(shares: Sequence[GroupShare]) -> GroupShare:
    """The group with the smallest coverage."""
    return min(shares, key=lambda share: share.coverage)
