"""References ruled out by a part of their values: never one that pushes, and not one value of the others is read."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from diversity_guidance.kernels.shields import prefix_norms as exclusion
from diversity_guidance.kernels.shields.field import ShieldField, shield_field, squared_norms
from diversity_guidance.kernels.shields.prefix_norms import (
    FEW,
    LEADING_SHARE,
    Leading,
    leading_columns,
    sparse_field,
)
from diversity_guidance.kernels.shields.reference_blocks import Blocks, Elementwise, read_rows
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

D = 1024
FIRST = D // LEADING_SHARE


def prepared(references: Blocks, like: Tensor, transform: Elementwise | None = None) -> Leading:
    leading = leading_columns(references, like, transform)
    assert leading is not None
    return leading


def compare(points: Tensor, references: Tensor | Sequence[Tensor], radius: float, **options) -> ShieldField:
    """The field, which must be that of the whole references."""
    whole = shield_field(points, references, radius, **options)
    leading = prepared(references, points, options.pop("transform", None))
    found = sparse_field(points, references, radius, leading, **options)
    torch.testing.assert_close(found.delta, whole.delta, rtol=1e-5, atol=1e-5 * radius)
    order = torch.stack([found.contacts.rows, found.contacts.references])
    assert order.tolist() == torch.stack([whole.contacts.rows, whole.contacts.references]).tolist()
    torch.testing.assert_close(found.contacts.distances, whole.contacts.distances)
    inside = whole.nearest < radius
    torch.testing.assert_close(found.nearest[inside], whole.nearest[inside])
    assert found.nearest_index[inside].tolist() == whole.nearest_index[inside].tolist()
    assert bool((found.nearest[~inside] >= radius * (1 - 1e-6)).all())
    assert bool((found.nearest <= whole.nearest * (1 + 1e-5)).all())
    told = found.nearest_index >= 0
    assert found.nearest_index[told].tolist() == whole.nearest_index[told].tolist()
    return found


@given(
    seed=st.integers(0, 2**31),
    batch=st.integers(1, 4),
    count=st.integers(1, 3 * FEW),
    radius=st.floats(0.01, 2.0),
    scales=st.tuples(st.floats(1e-3, 1e3), st.floats(0, 1), st.floats(0, 1)),
    dtype=st.sampled_from([torch.float16, torch.float32]),
)
def test_the_field_is_that_of_the_whole_references(
    seed: int, batch: int, count: int, radius: float, scales: tuple[float, float, float], dtype: torch.dtype
) -> None:
    """Clusters whose members differ in the first columns, in the others, or in neither."""
    size, first, others = scales
    generator = torch.Generator().manual_seed(seed)
    centre = torch.randn(D, generator=generator)
    spread = torch.cat([torch.full((FIRST,), first), torch.full((D - FIRST,), others)])
    references = (size * (centre + spread * torch.randn(count, D, generator=generator))).to(dtype)
    points = size * (centre + spread * torch.randn(batch, D, generator=generator))
    compare(points, references, radius * size * math.sqrt(2 * D))


@pytest.mark.parametrize("columns", [slice(0, FIRST), slice(FIRST, D)])
@pytest.mark.parametrize("share", [1 - 1e-4, 1 + 1e-4])
def test_all_of_the_distance_in_one_part(columns: slice, share: float) -> None:
    points = torch.randn(3, D, generator=torch.Generator().manual_seed(0))
    references = points.clone()
    references[:, columns] += share * 5 / math.sqrt(len(range(D)[columns]))
    field = compare(points, references, 5.0)
    assert len(field.contacts) == (3 if share < 1 else 0)


def test_blocks_norms_and_a_map_to_another_space() -> None:
    generator = torch.Generator().manual_seed(1)
    blocks = [torch.randn(count, 4, 16, 16, generator=generator).half() for count in (40, 0, 30)]
    transform = Elementwise(0.5 + torch.rand(D, generator=generator), torch.randn(D, generator=generator))
    points = transform(torch.stack([blocks[0][7], blocks[2][29]]).flatten(1).float()) + 0.01
    norms = squared_norms(blocks, points, transform)
    field = compare(points, blocks, 2.0, norms=norms, transform=transform)
    assert field.contacts.references.tolist() == [7, 69]


def test_only_what_is_left_is_read_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    references = torch.randn(500, D, generator=torch.Generator().manual_seed(2)).half()
    points = references[[3, 400]].float() + 0.01
    read = []

    def watched(blocks: Blocks, rows: Tensor, *arguments):
        read.extend(rows.tolist())
        yield from read_rows(blocks, rows, *arguments)

    monkeypatch.setattr(exclusion, "read_rows", watched)
    given = []

    def measured(points: Tensor, kept: Sequence[Tensor], *arguments, **options) -> ShieldField:
        given.append(sum(len(block) for block in kept))
        return shield_field(points, kept, *arguments, **options)

    monkeypatch.setattr(exclusion, "shield_field", measured)
    field = compare(points, references, 5.0)
    assert read == [3, 400] and given == [2]
    assert field.contacts.references.tolist() == [3, 400]


def test_broken_points_and_no_references() -> None:
    references = torch.randn(200, D, generator=torch.Generator().manual_seed(3))
    points = torch.stack([references[0], torch.full((D,), math.nan)])
    field = sparse_field(points, references, 3.0, prepared(references, points))
    assert field.nearest.tolist() == [0.0, math.inf]
    assert field.contacts.references.tolist() == [0]
    none = sparse_field(points[:1], references[:0], 3.0, prepared(references[:0], points))
    assert none.nearest.tolist() == [math.inf] and not bool(none.delta.any())
    with pytest.raises(ValueError, match="at least 0"):
        sparse_field(points, references, math.nan, prepared(references, points))


def test_short_rows_are_not_worth_it() -> None:
    assert leading_columns(torch.randn(3, D - LEADING_SHARE), torch.randn(1, D - LEADING_SHARE)) is None
