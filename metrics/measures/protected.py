"""How near pictures are to protected ones, and which of them are inside a shield."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...guidance.repellency.protection_record import NearestReference, ProtectionRecord

GUIDANCE = "guidance"
"""Source of what Sparse Repellency recorded while it drew the pictures."""

_NAMED = 20


@dataclass(frozen=True)
class ProtectedReport:
    """Pictures beside those of one Protected Index.

    Attributes:
        source: name of the index that they were compared with, or ``GUIDANCE``.
        protected: how many pictures are protected.
        radius: of their shields, in the units of the distances; 0 where none is known.
        pictures: one entry a picture.
        before: the same of the pictures to compare with; of guidance, of the same pictures before they were corrected.
    """

    source: str
    protected: int
    radius: float
    pictures: tuple[NearestReference, ...]
    before: tuple[NearestReference, ...] = ()

    def sentences(self) -> list[str]:
        """Whether every picture is outside every shield of the index and, if not, which are not."""
        radius = f", radius {self.radius:.4g}" if self.radius > 0 else ""
        opening = f"{self.protected:,} images are protected, in {self.source}{radius}: "
        told = [opening + _told(self.pictures, self.radius)]
        return [*told, f"Of the images before: {_told(self.before, self.radius)}"] if self.before else told

    def table(self) -> str:
        """Every picture with its nearest protected one, as text."""
        sets = [(" before", self.before), ("", self.pictures)] if self.before else [("", self.pictures)]
        lines = [f"Nearest protected images ({self.source}):"]
        for when, pictures in sets:
            for near in pictures:
                compared = self.radius > 0 and math.isfinite(near.distance)
                where = "" if not compared else "  INSIDE" if near.inside else "  outside"
                lines.append(f"  {near.picture}{when}  {near.distance:.4g}{where}  {near.protected or '–'}")
        return "\n".join(lines)


def recorded(record: ProtectionRecord) -> ProtectedReport:
    """What guidance itself recorded of a run."""
    before = [
        NearestReference(
            picture.sample, picture.before.picture, picture.before.distance, picture.before.distance < picture.radius
        )
        for picture in record.pictures
    ]
    after = [
        NearestReference(
            picture.sample, picture.after.picture, picture.after.distance, picture.radius > 0 and not picture.outside
        )
        for picture in record.pictures
    ]
    return ProtectedReport(GUIDANCE, record.protected, record.radius, tuple(after), tuple(before))


def _told(pictures: Sequence[NearestReference], radius: float) -> str:
    compared = [near for near in pictures if math.isfinite(near.distance)]
    left = len(pictures) - len(compared)
    missing = (
        f" {left} of {len(pictures)} could not be compared: they hold no numbers, or a mask lets nothing change."
        if left
        else ""
    )
    if not compared:
        return f"there was nothing to compare.{missing}"
    inside = [near for near in compared if near.inside]
    closest = min(compared, key=lambda near: near.distance)
    if inside:
        named = ", ".join(_named(near) for near in inside[:_NAMED])
        more = f" and {len(inside) - _NAMED} more" if len(inside) > _NAMED else ""
        return f"{len(inside)} of {len(compared)} images are NOT outside every shield: {named}{more}.{missing}"
    if radius > 0:
        every = f"each of the {len(compared)} images that were compared" if left else "every image"
        return f"{every} is outside every shield, nearest is {_named(closest)}.{missing}"
    return f"nearest is {_named(closest)}.{missing}"


def _named(near: NearestReference) -> str:
    return f"image {near.picture} ({near.distance:.4g} from {near.protected})"
