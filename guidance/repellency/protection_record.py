"""The images of a run compared with protected ones: nearest before and after, and whether they are outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..trace import name_images


@dataclass(frozen=True)
class NearestHit:
    """The nearest protected image.

    Attributes:
        image: its name; "" for none.
        distance: L2 distance in the model's latent space, where an inpainting mask lets the image change; infinity if
            there is none, or nothing may change.
    """

    image: str
    distance: float


@dataclass(frozen=True)
class SampleProtection:
    """One image of a run.

    Attributes:
        sample: index in the batch.
        before: the nearest protected image, of the final latent before its correction or, inside a shield, of an
            earlier estimate.
        after: the nearest protected image of the final latent.
        outside: whether the final latent was compared and is outside every shield.
        radius: of its shields; 0 if nothing of it may change, so that nothing was compared.
    """

    sample: int
    before: NearestHit
    after: NearestHit
    outside: bool
    radius: float


@dataclass(frozen=True)
class NearestReference:
    """An image and the nearest protected one.

    Attributes:
        image: index in the batch.
        protected: name of the protected image; "" if nothing could be compared.
        distance: between both, in units of the model's latents or of features; infinity if there is none.
        inside: whether the distance is below the radius.
    """

    image: int
    protected: str
    distance: float
    inside: bool


@dataclass(frozen=True)
class ProtectionRecord:
    """The protection of one run.

    Attributes:
        protected: number of protected images.
        images: one entry for each sample.
        ensured: whether final latents were moved outside if needed.
        searches: number of searches of the index.
        spared: number of evaluations that needed no search.
    """

    protected: int
    images: tuple[SampleProtection, ...]
    ensured: bool
    searches: int
    spared: int

    @property
    def radius(self) -> float:
        """The largest radius of a shield, in the model's latent space; masks reduce those of some samples."""
        return max((image.radius for image in self.images), default=0.0)

    def not_outside(self) -> list[int]:
        """Samples that were compared and ended inside a shield."""
        return [image.sample for image in self.images if image.radius > 0 and not image.outside]

    def sentence(self) -> str:
        """For a node: nearest before and after, and whether all are outside, or which are not."""
        compared = [image for image in self.images if image.radius > 0]
        left = [image.sample for image in self.images if image.radius == 0]
        told = f"{self.protected:,} images are protected"
        if compared:
            told += f", radius {self._radii(compared)}: {_compared(compared, all_of_them=not left)}"
        else:
            told += "."
        if left:
            told += f" Nothing is guaranteed for {name_images(left)}, where a mask lets nothing change."
        if not self.ensured:
            told += " Nothing guarantees this: ensure_outside is off."
        return told + f" {self.searches} searches were made, {self.spared} spared."

    @staticmethod
    def _radii(compared: Sequence[SampleProtection]) -> str:
        smallest, largest = (f"{end(image.radius for image in compared):.3g}" for end in (min, max))
        return largest if smallest == largest else f"{smallest} to {largest}, as masks let images change"


def _compared(images: Sequence[SampleProtection], *, all_of_them: bool) -> str:
    before = min(images, key=lambda image: image.before.distance)
    after = min(images, key=lambda image: image.after.distance)
    told = f"image {before.sample} came nearest, {_told(before.before)}. "
    if inside := [image for image in images if not image.outside]:
        each = ", ".join(f"image {image.sample} ({_told(image.after)})" for image in inside)
        return f"{told}NOT outside every shield: {each}."
    every = "Every image" if all_of_them else "Every other image"
    return f"{told}{every} is outside every shield, at the end image {after.sample}, {_told(after.after)}."


def _told(hit: NearestHit) -> str:
    return f"{hit.distance:.4g} from {hit.image}"
