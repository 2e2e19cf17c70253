"""The references that images keep away from, of several sources, without copying them together."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ..kernels.scale import typical_distance
from ..kernels.shields.distance_bounds import DIMENSIONS, DistanceBounds
from ..kernels.shields.drift_bounds import DriftBounds
from ..kernels.shields.field import squared_norms
from ..kernels.shields.reference_blocks import Elementwise, Transform
from ..stores.encoders import check_encoder
from .base import DenoiseMask, SamplingRun
from .latent_map import LatentMap
from .reference_bounds import bounds_of

SCALE_SAMPLE = 64
"""References from which the typical distance is measured; the contrast of images varies little."""

MIN_BOUNDED = 128
"""Fewer references are always read as a whole: it takes no time, and tells how near the nearest is."""

MIN_VALUES = 4 * DIMENSIONS
"""Smaller latents are too: bounds would cost what they save."""

MASK_HOLDS_ALL = "the mask lets nothing change"
MASKS_SHARE_NOTHING = "the masks share nothing that may change"
"""Why nothing of a run is compared under masks, as the end of a sentence."""


class View(Protocol):
    """The references of one source that fit a run; a bank's view has this shape."""

    @property
    def latents(self) -> Tensor:
        """Raw VAE latents, shape (N, C, ...)."""
        ...

    @property
    def ids(self) -> Sequence[str]:
        """Identity of each, N strings."""
        ...

    @property
    def left_out(self) -> int:
        """Number of references of the source that have another image size."""
        ...

    @property
    def unreadable(self) -> str:
        """A sentence on references that cannot be read, or that do not count; "" where all are taken."""
        ...

    @property
    def seeds(self) -> Sequence[int | None]:
        """Seed of each, None where unknown; may be empty where all are."""
        ...

    @property
    def keys(self) -> Sequence[str]:
        """A key of each, equal only for equal latents; may be empty where none is known."""
        ...


class ReferenceSource(Protocol):
    """A source of references, such as a bank's snapshot."""

    def matching(self, latent_format: str, latent_shape: tuple[int, ...]) -> View:
        """References of this latent format and shape (C, ...).

        Raises:
            ValueError: the source holds another latent format.
        """
        ...


class BankEntry(Protocol):
    """A remembered image's id and prompt."""

    @property
    def id(self) -> str:
        """Its identity."""
        ...

    @property
    def prompt(self) -> str | None:
        """Its prompt; None if it is not known."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its latents, (C, ...)."""
        ...


@runtime_checkable
class FeatureBank(ReferenceSource, Protocol):
    """Remembered images with features by space, such as a bank's snapshot."""

    @property
    def entries(self) -> Sequence[BankEntry]:
        """All entries, oldest first."""
        ...

    def features(self, space: str) -> tuple[tuple[str, ...], Tensor]:
        """Ids and features (N, d) of the entries that have features of this space."""
        ...


@dataclass(frozen=True)
class ImageReferences:
    """Images given as latents, such as images to avoid: a reference source, and its own view.

    Attributes:
        latents: raw VAE latents, shape (N, C, ...).
        latent_format: name of their latent format; "" if it is unknown, which fits every model.
        name: their name in the trace: ``name:<index>``.
        left_out: always 0 in a source; a view of another size counts all images.
        unreadable: always "".
        seeds: always empty.
        keys: always empty.
    """

    latents: Tensor
    latent_format: str = ""
    name: str = "image"
    left_out: int = 0
    unreadable: str = ""
    seeds: tuple[int, ...] = ()
    keys: tuple[str, ...] = ()

    @property
    def ids(self) -> Sequence[str]:
        """``name:<index>`` of every image."""
        return [f"{self.name}:{index}" for index in range(len(self.latents))]

    def matching(self, latent_format: str, latent_shape: tuple[int, ...]) -> ImageReferences:
        """The images themselves, or none of them if the size differs.

        Raises:
            ValueError: the images have another latent format or number of channels.
        """
        if self.latent_format not in ("", latent_format) or self.latents.shape[1] != latent_shape[0]:
            raise ValueError(
                f"The images to avoid are latents of {self.latent_format or 'another model'} with "
                f"{self.latents.shape[1]} channels and this model works on {latent_format} with {latent_shape[0]}: "
                "encode them with this model's VAE."
            )
        if tuple(self.latents.shape[1:]) != latent_shape:
            return ImageReferences(self.latents[:0], self.latent_format, self.name, left_out=len(self.latents))
        return self


class Ids(Protocol):
    """Identities of references, by number; a tuple of strings is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> str: ...


class ConcatIds:
    """The identities of several sets of references in sequence, without copying them.

    Args:
        parts: identities of each set.
    """

    def __init__(self, parts: Sequence[Ids]) -> None:
        self._parts = tuple(parts)
        self._ends = tuple(accumulate(len(part) for part in parts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, number: int, /) -> str:
        part = bisect_right(self._ends, number)
        return self._parts[part][number - (self._ends[part - 1] if part else 0)]


@dataclass(frozen=True)
class ProtectedReferences:
    """Protected images to compare with.

    Attributes:
        blocks: raw latents, each (N, ...).
        ids: name of each, numbered through the blocks.
        locations: of each in the indexes, as (index, number); empty if all are read, so that none is searched for.
    """

    blocks: tuple[Tensor, ...]
    ids: Ids
    locations: tuple[tuple[int, int], ...] = ()

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class References:
    """All references of one run, ready for the kernels.

    Attributes:
        blocks: raw latents as the sources hold them, on the run's device, each (N, C, ...).
        ids: identity of each reference, numbered through the blocks.
        transform: maps a chunk of them to the model's space.
        norms: squared norms after the transform, shape (N,), or where masks let samples change, shape (1 or B, N).
        typical: typical distance between unrelated images, measured from them; 0 without references.
        mask: where samples may change; None for everywhere.
        bounds: select references that may be near; None if all are read.
        drift: what is known of their distances to the estimates of the last step.
        protected: locations of the protected images among them, as (index, number).
    """

    blocks: tuple[Tensor, ...]
    ids: Ids
    transform: Transform
    norms: Tensor
    typical: float
    mask: DenoiseMask | None = None
    bounds: DistanceBounds | None = None
    drift: DriftBounds = field(default_factory=lambda: DriftBounds(0))
    protected: frozenset[tuple[int, int]] = frozenset()

    def __len__(self) -> int:
        return len(self.ids)

    def concat(self, candidates: ProtectedReferences) -> References:
        """These references, then the candidates; what is known of the former is reused."""
        if len(candidates) == 0:
            return self
        like = torch.empty((0, candidates.blocks[0][0].numel()), device=candidates.blocks[0].device)
        mask = None if self.mask is None else self.mask.distinct
        norms = squared_norms(candidates.blocks, like, self.transform, mask)
        bounds = self.bounds and self.bounds.concat(
            candidates.blocks, like, self.transform, None if mask is None else mask[0]
        )
        return replace(
            self,
            bounds=bounds,
            blocks=self.blocks + candidates.blocks,
            ids=ConcatIds([self.ids, candidates.ids]),
            norms=torch.cat([self.norms, norms], -1),
            protected=self.protected.union(candidates.locations),
        )


@dataclass(frozen=True)
class RunReferences:
    """The references that fit a run, before a mask is known.

    Attributes:
        blocks: raw latents of the sources, on the run's device, each (N, C, ...).
        ids: identity of each reference.
        notes: sentences for the user about what was left out.
        typical: see ``References``.
        keys: of each reference, equal only for equal latents; "" where none is known.
    """

    blocks: tuple[Tensor, ...]
    ids: tuple[str, ...]
    notes: tuple[str, ...]
    typical: float
    keys: tuple[str, ...]

    def masked(self, mask: DenoiseMask | None, run: SamplingRun) -> References:
        """Prepare the references for comparison under a mask; None for everywhere."""
        values = torch.Size(run.latent_shape).numel()
        like, transform = torch.empty((0, values), device=run.device), _transform(run)
        rows = None if mask is None else mask.distinct
        bounds = None
        # With a mask for each sample, the numbers of a reference would be others for each.
        if len(self.ids) >= MIN_BOUNDED and values >= MIN_VALUES and (mask is None or mask.uniform):
            bounds = bounds_of(self.blocks, self.keys, like, transform, None if rows is None else rows[0])
            norms = bounds.norms if rows is None else bounds.norms[None]
        else:
            norms = squared_norms(self.blocks, like, transform, rows)
        drift = DriftBounds(len(self.ids))
        return References(self.blocks, self.ids, transform, norms, self.typical, mask, bounds, drift)


def _transform(run: SamplingRun) -> Transform:
    """The map of rows (n, D) to the model's space."""
    found = LatentMap.fit(run.to_model_space, run.latent_shape)
    if found is not None:
        return Elementwise(*(part.to(run.device, torch.float32) for part in (found.scale, found.offset)))

    def transform(chunk: Tensor) -> Tensor:
        return run.to_model_space(chunk.view(-1, *run.latent_shape)).reshape(len(chunk), -1)

    return transform


def view_for_run(source: ReferenceSource, run: SamplingRun) -> View:
    """The references of a source that fit a run.

    Raises:
        ValueError: the source holds latents of another format or, as far as is known, of another VAE.
    """
    store = f"The bank '{name}'" if (name := getattr(source, "name", "")) else "A source of references"
    check_encoder(store, getattr(source, "encoder", ""), run.encoder, "Use a bank of this model's own VAE.")
    return source.matching(run.latent_format, run.latent_shape)


def gather(sources: Sequence[ReferenceSource], run: SamplingRun, further: Sequence[Tensor] = ()) -> RunReferences:
    """Collect the references that fit a run from every source.

    Args:
        sources: of references.
        run: the sampling run.
        further: raw latents (n, C, ...) that count for the typical distance only.

    Raises:
        ValueError: a source holds latents of another format or VAE.
    """
    views = [view_for_run(source, run) for source in sources]
    blocks = tuple(view.latents.to(run.device) for view in views if len(view.latents))
    keys = tuple(key for view in views for key in view.keys or [""] * len(view.latents))
    left_out = sum(view.left_out for view in views)
    counted = "1 reference" if left_out == 1 else f"{left_out} references"
    verb = "was" if left_out == 1 else "were"
    notes = (f"{counted} of another image size {verb} left out.",) if left_out else ()
    notes += tuple(view.unreadable for view in views if view.unreadable)
    notes += seed_notes(views, run)
    ids = tuple(name for view in views for name in view.ids)
    return RunReferences(blocks, ids, notes, _typical((*blocks, *further), run), keys)


def seed_notes(views: Sequence[View], run: SamplingRun) -> tuple[str, ...]:
    """A note on references that were sampled from the run's own noise; none without such."""
    repeated = sum(seed == run.seed for view in views for seed in view.seeds)
    if not repeated:
        return ()
    origin = "1 reference has" if repeated == 1 else f"{repeated} references have"
    return (f"{origin} this run's seed: another seed varies more.",)


def _typical(blocks: Sequence[Tensor], run: SamplingRun) -> float:
    """Typical distance of a sample of the references, one at a time, as a bank may fill the memory."""
    stride = math.ceil(sum(len(block) for block in blocks) / SCALE_SAMPLE)
    sample = (block[row : row + 1].float() for block in blocks for row in range(0, len(block), stride))
    distances = [typical_distance(run.to_model_space(latent)) for latent in sample]
    squares = [distance**2 for distance in distances if distance > 0]
    return math.sqrt(sum(squares) / len(squares)) if squares else 0.0


def why_none(batch_size: int, in_batch: bool, notes: Sequence[str]) -> str:
    """Why there is nothing to keep away from, as the end of a sentence; "" if the batch has other images.

    Args:
        batch_size: of the run.
        in_batch: whether the images of a batch keep away from one another.
        notes: about references that were left out.
    """
    if in_batch and batch_size > 1:
        return ""
    if notes:
        return "no reference fits this run"
    if in_batch:
        return "a batch of one has nothing to keep away from: connect a Memory Bank, or sample more images at once"
    return "no bank, and keep_apart is bank only"
