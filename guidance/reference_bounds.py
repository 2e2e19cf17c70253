"""Bounds of the distances to remembered latents, kept from run to run: only those of new images are computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..kernels.shields.distance_bounds import DistanceBounds
from ..kernels.shields.reference_blocks import Elementwise, Transform

KEPT = 2
"""Sets of references whose bounds are kept, such as those of two models or masks that take turns."""


@dataclass(frozen=True)
class _Kept:
    """Bounds of references by their keys, under a transform and a mask."""

    rows: dict[str, int]
    bounds: DistanceBounds
    transform: Elementwise
    mask: Tensor | None

    def holds_for(self, keys: Sequence[str], transform: Elementwise, mask: Tensor | None) -> bool:
        """Whether most keys are known, and what the bounds depend on is the same."""
        pairs = [(transform.scale, self.transform.scale), (transform.offset, self.transform.offset)]
        if mask is not None and self.mask is not None:
            pairs.append((mask, self.mask))
        alike = (one.device == other.device and torch.equal(one, other) for one, other in pairs)
        same = (mask is None) == (self.mask is None) and all(alike)
        return same and 2 * sum(key in self.rows for key in keys) >= len(keys)

    def bounds_of(self, blocks: Sequence[Tensor], keys: Sequence[str], like: Tensor) -> DistanceBounds:
        """The bounds of the references with these keys, computed for those that are new."""
        rows = torch.tensor([self.rows.get(key, -1) for key in keys], device=like.device)
        new = rows < 0
        bounds = self.bounds.take(rows[~new])
        if bool(new.any()):
            chosen = zip(blocks, new.split([len(block) for block in blocks]), strict=True)
            fresh = [block[part] for block, part in chosen if bool(part.any())]
            bounds = bounds.concat(fresh, like, self.transform, self.mask)
            bounds = bounds.take(new.argsort(stable=True).argsort())
        return bounds


_kept: list[_Kept] = []


def bounds_of(
    blocks: Sequence[Tensor], keys: Sequence[str], like: Tensor, transform: Transform, mask: Tensor | None
) -> DistanceBounds:
    """The bounds of references.

    Args:
        blocks: of references, at least one; this, ``like``, ``transform`` and ``mask`` as in ``DistanceBounds.fit``.
        keys: of each reference, equal only for equal latents; "" for one that is read in every run.
    """
    if not isinstance(transform, Elementwise) or not any(keys):
        return DistanceBounds.fit(blocks, like, transform, mask)
    known = next((kept for kept in _kept if kept.holds_for(keys, transform, mask)), None)
    bounds = known.bounds_of(blocks, keys, like) if known else DistanceBounds.fit(blocks, like, transform, mask)
    rows = {key: row for row, key in enumerate(keys) if key}
    others = (kept for kept in _kept if kept is not known)
    _kept[:] = [_Kept(rows, bounds, transform, mask), *others][:KEPT]
    return bounds
