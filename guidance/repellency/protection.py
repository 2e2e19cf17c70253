"""Protected Indexes during one run: select the references in whose shields an estimate may be.

Under an inpainting mask, distances of whole images say nothing, and every protected image is read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from ...kernels.shields.field import Contacts, shield_field, working_points
from ...stores.encoders import check_encoder
from ...stores.protected.index import ProtectedIndex
from ...stores.protected.search.neighbour_list import NeighbourList
from ...stores.protected.spaces import encoder_of, latent_format_of, name_of
from ..base import DenoiseMask, SamplingRun, shape_text
from ..latent_map import LatentMap
from ..references import SCALE_SAMPLE, ConcatIds, ProtectedReferences, References
from .protected_search import images_inside, nearest_images
from .protection_record import NearestHit, ProtectionRecord, SampleProtection
from .records import triples
from .shields import Shields


class Protection:
    """The protected images of one run.

    Args:
        indexes: of raw latents in the model's format and image size, none empty.
        run: the sampling run.
    """

    def __init__(self, indexes: Sequence[ProtectedIndex], run: SamplingRun) -> None:
        self._indexes = tuple(indexes)
        self._map = LatentMap.fit(run.to_model_space, run.latent_shape)
        self._lists = [NeighbourList(index) for index in self._indexes]
        self._first = 0
        self._reads_all = False
        self._before = [NearestHit("", math.inf)] * run.batch_size

    @classmethod
    def for_run(cls, indexes: Sequence[ProtectedIndex], run: SamplingRun) -> Protection | None:
        """The protection of a run by indexes; None if all are empty.

        Raises:
            ValueError: an index holds another space or image size than the run.
        """
        for index in indexes:
            check_latents(index, run)
        filled = [index for index in indexes if len(index)]
        return cls(filled, run) if filled else None

    def sample(self) -> list[Tensor]:
        """Some of the raw latents of every index, each (n, C, ...), to measure their scale."""
        return [index.sample(SCALE_SAMPLE) for index in self._indexes]

    def masked(self, mask: DenoiseMask | None, sources: References) -> tuple[References, list[str]]:
        """References to compare in every step, and notes for the user; under a mask, with all protected images."""
        self._first = len(sources)
        held = mask is not None
        self._reads_all = held or self._map is None
        if not self._reads_all:
            return sources, []
        why = "an inpainting mask holds part of the image" if held else "the model's latent format mixes values"
        note = f"Every protected image was compared in every step, which is exact but slow, because {why}."
        blocks = tuple(block for index in self._indexes for block in index.vectors())
        names = ConcatIds([_Names(index) for index in self._indexes])
        return sources.concat(ProtectedReferences(blocks, names)), [note]

    def near(self, points: Tensor, radius: float, known: References) -> References:
        """The known references, and all protected images in whose shields points (B, D) may be."""
        if self._reads_all or self._map is None:
            return known
        raw = self._map.to_raw(points)
        for place, (index, neighbours) in enumerate(zip(self._indexes, self._lists, strict=True)):
            numbers, vectors = images_inside(neighbours, self._map, raw, radius)
            new = [row for row, number in enumerate(numbers) if (place, number) not in known.protected]
            if new:
                names = tuple(index.name(numbers[row]) for row in new)
                locations = tuple((place, numbers[row]) for row in new)
                known = known.concat(ProtectedReferences((vectors[new].to(points.device),), names, locations))
        return known

    def note(self, contacts: Contacts, references: References) -> None:
        """Record how near estimates came to protected images while they were sampled."""
        for row, reference, distance in triples(contacts):
            if reference >= self._first and distance < self._before[row].distance:
                self._before[row] = NearestHit(references.ids[reference], distance)

    def note_unpushed(self, points: Tensor, always: References) -> None:
        """Record how near final latents (B, D) are before they are corrected."""
        nearest = self._nearest(points, always)
        pairs = zip(self._before, nearest, strict=True)
        self._before = [min(pair, key=lambda hit: hit.distance) for pair in pairs]

    def record(self, final: Shields, always: References, ensured: bool) -> ProtectionRecord:
        """The record of the run's images.

        Args:
            final: the shields around the final latents.
            always: references compared in every step.
            ensured: whether final latents were moved outside if needed.
        """
        inside = {row for row, reference, _ in triples(final.fixed.contacts) if reference >= self._first}
        after = self._nearest(working_points(final.points), always)
        # A radius of 0 also means that a mask lets nothing change, so that nothing was compared.
        radii = final.radii.fixed.tolist()
        images = tuple(
            SampleProtection(sample, self._before[sample], after[sample], radius > 0 and sample not in inside, radius)
            for sample, radius in enumerate(radii)
        )
        searches = sum(neighbours.searched for neighbours in self._lists)
        spared = sum(neighbours.skipped for neighbours in self._lists)
        return ProtectionRecord(sum(len(index) for index in self._indexes), images, ensured, searches, spared)

    def _nearest(self, points: Tensor, always: References) -> list[NearestHit]:
        """The nearest protected image of every point (B, D); "" at infinity if it could not be compared."""
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
    """Check that an index holds latents of a model's format.

    Raises:
        ValueError: it holds another space.
    """
    if latent_format_of(index.space) != latent_format:
        raise ValueError(
            f"The protected index {index.folder.name} holds {name_of(index.space)}, and this model makes "
            f"{latent_format} latents: build an index with this model's VAE."
        )


def check_latents(index: ProtectedIndex, run: SamplingRun) -> None:
    """Check that an index can protect a run; unlike for a bank, leaving it out would break a promise.

    Raises:
        ValueError: it holds another space, latents of another VAE, or another image size.
    """
    check_latent_space(index, run.latent_format)
    check_encoder(
        f"The protected index {index.folder.name}", encoder_of(index.space), run.encoder, "Build one with this VAE."
    )
    if index.shape != run.latent_shape:
        raise ValueError(
            f"The protected index {index.folder.name} holds latents of {shape_text(index.shape)} and this run samples "
            f"{shape_text(run.latent_shape)}: nothing would be protected. Build an index for this image size."
        )


class _Names:
    """The names of an index's images, read on demand."""

    def __init__(self, index: ProtectedIndex) -> None:
        self._index = index

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, number: int, /) -> str:
        return self._index.name(number)
