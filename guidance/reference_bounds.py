"""Bounds of the distances to a bank's latents, kept from queue to queue: only those of new images are computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..kernels.shields.distance_bounds import DistanceBounds
from ..kernels.shields.reference_blocks import Elementwise, Transform

Origin = tuple[object, int]
"""An object that lives as long as memory that several views share, no row of which ever changes, and a view's begin."""


@dataclass(frozen=True)
class _Kept:
    """Bounds of rows from ``begin`` on, under a transform and a mask."""

    begin: int
    bounds: DistanceBounds
    transform: Elementwise
    mask: Tensor | None

    def holds_for(self, transform: Elementwise, mask: Tensor | None) -> bool:
        pairs = [(transform.scale, self.transform.scale), (transform.offset, self.transform.offset)]
        if mask is not None and self.mask is not None:
            pairs.append((mask, self.mask))
        alike = (one.device == other.device and torch.equal(one, other) for one, other in pairs)
        return (mask is None) == (self.mask is None) and all(alike)


_kept: WeakKeyDictionary[object, _Kept] = WeakKeyDictionary()


def bounds_of(
    blocks: Sequence[Tensor], origin: Origin | None, like: Tensor, transform: Transform, mask: Tensor | None
) -> DistanceBounds:
    """The bounds of references.

    Args:
        blocks: of references, at least one; this, ``like``, ``transform`` and ``mask`` as in ``DistanceBounds.fit``.
        origin: of the first block; None if no other view shares its memory.
    """
    if origin is None or not isinstance(transform, Elementwise):
        return DistanceBounds.fit(blocks, like, transform, mask)
    first, (memory, begin) = blocks[0], origin
    known, end = _kept.get(memory), begin + len(first)
    if known is None or not known.holds_for(transform, mask) or not _reaches(known, begin, end):
        bounds = DistanceBounds.fit(first, like, transform, mask)
    else:
        held = known.begin + len(known.bounds.norms)
        bounds = known.bounds.part(begin - known.begin, end - known.begin)
        if end > held:
            bounds = bounds.concat(first[held - begin :], like, transform, mask)
    _kept[memory] = _Kept(begin, bounds, transform, mask)
    return bounds.concat(blocks[1:], like, transform, mask) if len(blocks) > 1 else bounds


def _reaches(known: _Kept, begin: int, end: int) -> bool:
    """Whether most of a range of rows is known, from its begin on."""
    held = known.begin + len(known.bounds.norms)
    return known.begin <= begin and 2 * (min(held, end) - begin) >= end - begin
