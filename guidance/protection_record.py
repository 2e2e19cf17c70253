"""What became of the pictures of a run beside the protected ones: nearest before and after, and who is outside."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Approach:
    """The nearest protected picture.

    Attributes:
        picture: its name, "" where there is none.
        distance: L2 distance in the model's latent space, where an inpainting mask lets the picture change.
    """

    picture: str
    distance: float


@dataclass(frozen=True)
class Guarded:
    """One picture of a run.

    Attributes:
        sample: index in the batch.
        before: the nearest that it came to a protected picture: at the end, before anything was corrected there, or
            nearer, inside a shield, while it was drawn.
        after: the nearest of its final latent.
        outside: whether the final latent is outside every shield.
    """

    sample: int
    before: Approach
    after: Approach
    outside: bool


@dataclass(frozen=True)
class Nearness:
    """A picture and the protected one that is nearest.

    Attributes:
        picture: its place in the batch.
        protected: name of the protected picture, "" where the picture holds no numbers.
        distance: of the two, in the units of the model's latents or of the features; infinity where there is none.
        inside: whether it is nearer than the radius.
    """

    picture: int
    protected: str
    distance: float
    inside: bool


@dataclass(frozen=True)
class ProtectionRecord:
    """What was done for protected pictures in one run.

    Attributes:
        protected: how many pictures are protected.
        radius: of every shield, in the model's latent space.
        pictures: one entry a sample.
        ensured: whether final latents were moved outside where needed.
        searches: how often the index was searched.
        spared: how often it was known without a search that nothing is near.
    """

    protected: int
    radius: float
    pictures: tuple[Guarded, ...]
    ensured: bool
    searches: int
    spared: int

    def sentence(self) -> str:
        """For the face of a node: nearest before and after, whether all are outside, and if not, which are not."""
        before = min(self.pictures, key=lambda picture: picture.before.distance)
        after = min(self.pictures, key=lambda picture: picture.after.distance)
        inside = [picture for picture in self.pictures if not picture.outside]
        told = (
            f"{self.protected:,} pictures are protected, radius {self.radius:.3g}: picture {before.sample} came "
            f"nearest, {_told(before.before)}. "
        )
        if inside:
            named = ", ".join(f"picture {picture.sample} ({_told(picture.after)})" for picture in inside)
            told += f"NOT outside every shield: {named}."
        else:
            told += f"Every picture is outside every shield, at the end picture {after.sample}, {_told(after.after)}."
        if not self.ensured:
            told += " Nothing guarantees this: ensure_outside is off."
        return told + f" {self.searches} searches were made, {self.spared} spared."


def _told(approach: Approach) -> str:
    return f"{approach.distance:.4g} from {approach.picture}"
