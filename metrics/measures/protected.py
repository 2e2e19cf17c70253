"""Distances of images to protected ones, and which of them are inside a shield."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...guidance.repellency.protection_record import NearestReference, ProtectionRecord

GUIDANCE = "guidance"
"""Source of what Sparse Repellency recorded while the images were sampled."""

_NAMED = 20


@dataclass(frozen=True)
class ProtectedReport:
    """Images compared with those of one Protected Index.

    Attributes:
        source: name of the index, or ``GUIDANCE``.
        protected: number of protected images.
        radius: of the shields, in the units of the distances; 0 if it is unknown.
        images: one entry for each image.
        before: entries of the images to compare with; from guidance, of the same images before they were corrected.
    """

    source: str
    protected: int
    radius: float
    images: tuple[NearestReference, ...]
    before: tuple[NearestReference, ...] = ()

    def sentences(self) -> list[str]:
        """Whether every image is outside every shield of the index, or which are not."""
        radius = f", radius {self.radius:.4g}" if self.radius > 0 else ""
        opening = f"{self.protected:,} images are protected, in {self.source}{radius}: "
        told = [opening + _told(self.images, self.radius)]
        return [*told, f"Of the images before: {_told(self.before, self.radius)}"] if self.before else told

    def table(self) -> str:
        """Every image with its nearest protected one, as a text table."""
        sets = [(" before", self.before), ("", self.images)] if self.before else [("", self.images)]
        lines = [f"Nearest protected images ({self.source}):"]
        for when, images in sets:
            for near in images:
                compared = self.radius > 0 and math.isfinite(near.distance)
                where = "" if not compared else "  INSIDE" if near.inside else "  outside"
                lines.append(f"  {near.image}{when}  {near.distance:.4g}{where}  {near.protected or '–'}")
        return "\n".join(lines)


def recorded(record: ProtectionRecord) -> ProtectedReport:
    """The record that guidance kept of a run."""
    before = [
        NearestReference(image.sample, image.before.image, image.before.distance, image.before.distance < image.radius)
        for image in record.images
    ]
    after = [
        NearestReference(image.sample, image.after.image, image.after.distance, image.radius > 0 and not image.outside)
        for image in record.images
    ]
    return ProtectedReport(GUIDANCE, record.protected, record.radius, tuple(after), tuple(before))


def _told(images: Sequence[NearestReference], radius: float) -> str:
    compared = [near for near in images if math.isfinite(near.distance)]
    left = len(images) - len(compared)
    missing = (
        f" {left} of {len(images)} could not be compared: they hold no numbers, or a mask lets nothing change."
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
    return f"image {near.image} ({near.distance:.4g} from {near.protected})"
