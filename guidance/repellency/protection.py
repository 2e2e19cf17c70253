"""Protected Indexes during one run: of millions of references, those in whose shields an estimate may be.

Where an inpainting mask holds part of the image, distances of whole pictures say nothing, and every protected picture
is read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from ...kernels.shields.field import Contacts, shield_field, working_points
from ...stores.protected.index import ProtectedIndex
from ...stores.protected.search.neighbour_list import NeighbourList
from ...stores.protected.spaces import latent_format_of, name_of
from ..base import DenoiseMask, SamplingRun
from ..latent_map import LatentMap
from ..references import SCALE_SAMPLE, Candidates, JoinedIds, References
from .protected_search import images_inside, nearest_images
from .protection_record import NearestHit, ProtectionRecord, SampleProtection
from .records import triples
from .shields import Shields


class Protection:
    """What is protected during one run.

    Args:
        indexes: of raw latents in the model's format and picture size, none empty.
        run: the run.
    """

    def __init__(self, indexes: Sequence[ProtectedIndex], run: SamplingRun) -> None:
        self._indexes = tuple(indexes)
        self._map = LatentMap.fit(run.to_model_space, run.latent_shape)
        self._lists = [NeighbourList(index) for index in self._indexes]
        self._first = 0
        self._reads_all = False
        self._before = [NearestHit("", math.inf)] * run.batch_size

    @classmethod
    def of(cls, indexes: Sequence[ProtectedIndex], run: SamplingRun) -> Protection | None:
        """The protection that these give a run, None where nothing is protected.

        Raises:
            ValueError: an index holds something else than the run's latents.
        """
        for index in indexes:
            check_latents(index, run)
        filled = [index for index in indexes if len(index)]
        return cls(filled, run) if filled else None

    def sample(self) -> list[Tensor]:
        """Some of the raw latents of every index, each (n, C, ...), to measure their scale."""
        return [index.sample(SCALE_SAMPLE) for index in self._indexes]

    def masked(self, mask: DenoiseMask | None, sources: References) -> tuple[References, list[str]]:
        """What is compared in every step, and sentences for the user: with a mask, all protected pictures are."""
        self._first = len(sources)
        held = mask is not None
        self._reads_all = held or self._map is None
        if not self._reads_all:
            return sources, []
        why = "an inpainting mask holds part of the image" if held else "the model's latent format mixes values"
        note = f"Every protected image was compared in every step, which is exact but slow, because {why}."
        blocks = tuple(block for index in self._indexes for block in index.vectors())
        return sources.joined(Candidates(blocks, JoinedIds([_Names(index) for index in self._indexes]))), [note]

    def near(self, points: Tensor, radius: float, known: References) -> References:
        """The known references, and the protected pictures in whose shields points (B, D) may be, none left out."""
        if self._reads_all or self._map is None:
            return known
        raw = self._map.to_raw(points)
        for place, (index, listed) in enumerate(zip(self._indexes, self._lists, strict=True)):
            numbers, vectors = images_inside(listed, self._map, raw, radius)
            new = [row for row, number in enumerate(numbers) if (place, number) not in known.found]
            if new:
                names = tuple(index.name(numbers[row]) for row in new)
                places = tuple((place, numbers[row]) for row in new)
                known = known.joined(Candidates((vectors[new].to(points.device),), names, places))
        return known

    def note(self, contacts: Contacts, references: References) -> None:
        """Remember how near estimates came to protected pictures while they were drawn."""
        for row, reference, distance in triples(contacts):
            if reference >= self._first and distance < self._before[row].distance:
                self._before[row] = NearestHit(references.ids[reference], distance)

    def note_unpushed(self, points: Tensor, always: References) -> None:
        """Remember how near final latents (B, D) are before they are corrected."""
        nearest = self._nearest(points, always)
        pairs = zip(self._before, nearest, strict=True)
        self._before = [min(pair, key=lambda hit: hit.distance) for pair in pairs]

    def record(self, final: Shields, always: References, ensured: bool) -> ProtectionRecord:
        """What became of the run's images.

        Args:
            final: the shields around the final latents.
            always: what is compared in every step.
            ensured: whether they were moved outside where needed.
        """
        inside = {row for row, reference, _ in triples(final.fixed.contacts) if reference >= self._first}
        after = self._nearest(working_points(final.points), always)
        # A radius of 0 also says that a mask lets nothing change, so that nothing was compared.
        radii = final.radii.fixed.tolist()
        pictures = tuple(
            SampleProtection(sample, self._before[sample], after[sample], radius > 0 and sample not in inside, radius)
            for sample, radius in enumerate(radii)
        )
        searches = sum(listed.searched for listed in self._lists)
        spared = sum(listed.skipped for listed in self._lists)
        return ProtectionRecord(sum(len(index) for index in self._indexes), pictures, ensured, searches, spared)

    def _nearest(self, points: Tensor, always: References) -> list[NearestHit]:
        """The nearest protected image of every point (B, D); none at infinity for what could not be compared."""
        if self._reads_all or self._map is None:
            blocks = always.blocks[-sum(len(index.vectors()) for index in self._indexes) :]
            norms = always.norms[..., self._first :]
            mask = None if always.mask is None else always.mask.rows
            field = shield_field(points, blocks, 0.0, mask=mask, norms=norms, transform=always.transform)
            pairs = zip(field.nearest_index.tolist(), field.nearest.tolist(), strict=True)
            return [
                NearestHit("", math.inf) if number < 0 else NearestHit(always.ids[self._first + number], distance)
                for number, distance in pairs
            ]
        raw = self._map.to_raw(points)
        found = [nearest_images(index, self._map, raw) for index in self._indexes]
        return [min(hits, key=lambda hit: hit.distance) for hits in zip(*found, strict=True)]


def check_latent_space(index: ProtectedIndex, latent_format: str) -> None:
    """Refuse an index of another space than a model's latents.

    Raises:
        ValueError: it holds something else.
    """
    if latent_format_of(index.space) != latent_format:
        raise ValueError(
            f"The protected index {index.folder.name} holds {name_of(index.space)}, and this model makes "
            f"{latent_format} latents: build an index with this model's VAE."
        )


def check_latents(index: ProtectedIndex, run: SamplingRun) -> None:
    """Refuse an index that cannot protect a run: unlike a bank, it would promise what it does not keep.

    Raises:
        ValueError: it holds another space or picture size.
    """
    check_latent_space(index, run.latent_format)
    if index.shape != run.latent_shape:
        raise ValueError(
            f"The protected index {index.folder.name} holds latents of {_sides(index.shape)} and this run samples "
            f"{_sides(run.latent_shape)}: nothing would be protected. Build an index for this image size."
        )


def _sides(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


class _Names:
    """The names of an index's pictures, read when they are asked for."""

    def __init__(self, index: ProtectedIndex) -> None:
        self._index = index

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, number: int, /) -> str:
        return self._index.name(number)
