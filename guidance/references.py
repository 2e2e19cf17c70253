"""What a picture is kept away from: references of several sources, mixed freely and never copied together."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Protocol

import torch
from torch import Tensor

from ..kernels.scale import typical_distance
from ..kernels.shields.distance_bounds import DIMENSIONS, DistanceBounds
from ..kernels.shields.field import squared_norms
from ..kernels.shields.reference_blocks import Elementwise, Transform
from .base import DenoiseMask, SamplingRun
from .latent_map import LatentMap

SCALE_SAMPLE = 64
"""References from which the typical distance is measured: pictures differ in contrast, but not by much."""

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
        """How many references of the source have another picture size."""
        ...

    @property
    def unreadable(self) -> str:
        """A sentence on references that cannot be read; "" where all can."""
        ...


class ReferenceSource(Protocol):
    """Where references come from; a bank's snapshot is one."""

    def matching(self, latent_format: str, latent_shape: tuple[int, ...]) -> View:
        """References of this latent format and shape (C, ...).

        Raises:
            ValueError: the source holds another latent format.
        """
        ...


@dataclass(frozen=True)
class ImageReferences:
    """Pictures given directly, such as exemplars to avoid: a reference source, and its own view.

    Attributes:
        latents: raw VAE latents, shape (N, C, ...).
        latent_format: name of their latent format; "" where it is not known, which fits every model.
        name: what the trace calls them: ``name:<index>``.
        left_out: always 0 in a source; a view of another size counts all pictures.
        unreadable: always "".
    """

    latents: Tensor
    latent_format: str = ""
    name: str = "image"
    left_out: int = 0
    unreadable: str = ""

    @property
    def ids(self) -> Sequence[str]:
        """``name:<index>`` of every picture."""
        return [f"{self.name}:{index}" for index in range(len(self.latents))]

    def matching(self, latent_format: str, latent_shape: tuple[int, ...]) -> ImageReferences:
        """The pictures themselves, or none of them where the size differs.

        Raises:
            ValueError: the pictures have another latent format or number of channels.
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


class JoinedIds:
    """The identities of several sets of references, numbered through all of them; none is copied.

    Args:
        parts: one set after the other.
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
class Candidates:
    """Protected images that are to be compared.

    Attributes:
        blocks: raw latents, each (N, ...).
        ids: name of each, numbered through the blocks.
        places: where each is stored, as (index, number); empty where all are read, and none is ever looked for.
    """

    blocks: tuple[Tensor, ...]
    ids: Ids
    places: tuple[tuple[int, int], ...] = ()

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
        bounds: tells which references may be near; None where all are read.
        found: where the protected images among them are stored, as (index, number).
    """

    blocks: tuple[Tensor, ...]
    ids: Ids
    transform: Transform
    norms: Tensor
    typical: float
    mask: DenoiseMask | None = None
    bounds: DistanceBounds | None = None
    found: frozenset[tuple[int, int]] = frozenset()

    def __len__(self) -> int:
        return len(self.ids)

    def joined(self, candidates: Candidates) -> References:
        """These references, then the candidates; nothing of the former is computed again."""
        if len(candidates) == 0:
            return self
        like = torch.empty((0, candidates.blocks[0][0].numel()), device=candidates.blocks[0].device)
        mask = None if self.mask is None else self.mask.distinct
        norms = squared_norms(candidates.blocks, like, self.transform, mask)
        bounds = self.bounds and self.bounds.joined(
            candidates.blocks, like, self.transform, None if mask is None else mask[0]
        )
        return replace(
            self,
            bounds=bounds,
            blocks=self.blocks + candidates.blocks,
            ids=JoinedIds([self.ids, candidates.ids]),
            norms=torch.cat([self.norms, norms], -1),
            found=self.found.union(candidates.places),
        )


@dataclass(frozen=True)
class RunReferences:
    """The references that fit a run, before a mask is known.

    Attributes:
        blocks: raw latents as the sources hold them, on the run's device, each (N, C, ...).
        ids: identity of each reference.
        notes: sentences for the user about what was left out.
        typical: see ``References``.
    """

    blocks: tuple[Tensor, ...]
    ids: tuple[str, ...]
    notes: tuple[str, ...]
    typical: float

    def masked(self, mask: DenoiseMask | None, run: SamplingRun) -> References:
        """Prepare the references for comparison where a mask lets samples change; None for everywhere."""
        values = torch.Size(run.latent_shape).numel()
        like, transform = torch.empty((0, values), device=run.device), _transform(run)
        rows = None if mask is None else mask.distinct
        bounds = None
        # With a mask for each sample, the numbers of a reference would be others for each.
        if len(self.ids) >= MIN_BOUNDED and values >= MIN_VALUES and (mask is None or mask.uniform):
            bounds = DistanceBounds.of(self.blocks, like, transform, None if rows is None else rows[0])
            norms = bounds.norms if rows is None else bounds.norms[None]
        else:
            norms = squared_norms(self.blocks, like, transform, rows)
        return References(self.blocks, self.ids, transform, norms, self.typical, mask, bounds)


def _transform(run: SamplingRun) -> Transform:
    """The map of rows (n, D) to the model's space."""
    found = LatentMap.fit(run.to_model_space, run.latent_shape)
    if found is not None:
        return Elementwise(*(part.to(run.device, torch.float32) for part in (found.scale, found.offset)))

    def transform(chunk: Tensor) -> Tensor:
        return run.to_model_space(chunk.view(-1, *run.latent_shape)).reshape(len(chunk), -1)

    return transform


def gather(sources: Sequence[ReferenceSource], run: SamplingRun, further: Sequence[Tensor] = ()) -> RunReferences:
    """Collect what fits the run from every source.

    Args:
        sources: where references come from.
        run: what they must fit.
        further: raw latents (n, C, ...) that count for the typical distance and for nothing else.

    Raises:
        ValueError: a source holds latents of another format.
    """
    views = [source.matching(run.latent_format, run.latent_shape) for source in sources]
    blocks = tuple(view.latents.to(run.device) for view in views if len(view.latents))
    left_out = sum(view.left_out for view in views)
    counted = "1 reference" if left_out == 1 else f"{left_out} references"
    verb = "was" if left_out == 1 else "were"
    notes = (f"{counted} of another image size {verb} left out.",) if left_out else ()
    notes += tuple(view.unreadable for view in views if view.unreadable)
    return RunReferences(
        blocks, tuple(name for view in views for name in view.ids), notes, _typical((*blocks, *further), run)
    )


def _typical(blocks: Sequence[Tensor], run: SamplingRun) -> float:
    """Typical distance of a sample of the references, one at a time: a bank may fill the memory."""
    stride = math.ceil(sum(len(block) for block in blocks) / SCALE_SAMPLE)
    sample = (block[row : row + 1].float() for block in blocks for row in range(0, len(block), stride))
    distances = [typical_distance(run.to_model_space(latent)) for latent in sample]
    squares = [distance**2 for distance in distances if distance > 0]
    return math.sqrt(sum(squares) / len(squares)) if squares else 0.0


def why_none(batch_size: int, in_batch: bool, notes: Sequence[str]) -> str:
    """Why there is nothing to keep away from, as the end of a sentence; "" where the batch has others.

    Args:
        batch_size: of the run.
        in_batch: whether the images of a batch keep away from one another.
        notes: of what was left out, where references were given.
    """
    if in_batch and batch_size > 1:
        return ""
    if notes:
        return "no reference fits this run"
    if in_batch:
        return "a batch of one has nothing to keep away from: connect a Memory Bank, or sample more images at once"
    return "no bank, and keep_apart is bank only"
