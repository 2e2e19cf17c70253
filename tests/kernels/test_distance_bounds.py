"""Bounds of distances: never one above a distance, so that no reference that pushes is left unread."""

from __future__ import annotations

import math

import pytest
import torch
from diversity_guidance.kernels.shields.distance_bounds import DIMENSIONS, DistanceBounds
from diversity_guidance.kernels.shields.reference_blocks import Elementwise
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

D = 512


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def check(points: Tensor, references: Tensor, bounds: DistanceBounds, radius: float) -> Tensor:
    """Every reference inside is told of, and the others are as far as is said; returns the numbers told of."""
    numbers, bound = bounds.near(points, torch.full((len(points),), radius))
    distances = torch.cdist(points.double(), references.double(), compute_mode="donot_use_mm_for_euclid_dist")
    inside = (distances < radius).any(0).nonzero().flatten()
    assert set(inside.tolist()) <= set(numbers.tolist())
    others = torch.ones(len(references), dtype=torch.bool)
    others[numbers] = False
    assert bool((bound[:, None] <= distances[:, others] * (1 + 1e-6)).all())
    assert bool((bound >= radius * (1 - 1e-6)).all())
    assert numbers.tolist() == sorted(numbers.tolist())
    return numbers


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    batch=st.integers(1, 4),
    count=st.integers(1, 3 * DIMENSIONS),
    radius=st.floats(0.01, 1.5),
    size=st.floats(1e-3, 1e3),
    rank=st.integers(1, 2 * DIMENSIONS),
)
def test_no_reference_inside_is_lost(seed: int, batch: int, count: int, radius: float, size: float, rank: int) -> None:
    directions, centre = normal(seed, rank, D), 3 * normal(seed + 1, D)
    references = size * (centre + normal(seed + 2, count, rank) @ directions / math.sqrt(rank))
    points = size * (centre + normal(seed + 3, batch, rank) @ directions / math.sqrt(rank))
    points[0] = references[-1] + 0.01 * size * normal(seed + 4, D)
    check(points, references, DistanceBounds.fit(references, points), radius * size * math.sqrt(2 * D))


@pytest.mark.parametrize("share", [1 - 1e-4, 1 + 1e-4])
def test_at_the_radius_what_the_directions_hold_is_told_apart(share: float) -> None:
    references = torch.cat([normal(0, 200, 8) @ normal(1, 8, D), torch.zeros(1, D)])
    bounds = DistanceBounds.fit(references, references)
    points = references[:1].clone()
    points[0] += share * 5 * bounds.basis[0]
    assert (0 in check(points, references, bounds, 5.0).tolist()) or share > 1


def test_images_with_a_layout_are_nearly_all_ruled_out() -> None:
    references = normal(0, 2000, 24) @ normal(1, 24, D) + normal(2, 2000, D)
    points = references[[7, 1200]] + 0.05 * normal(3, 2, D)
    typical = float(torch.dist(references[0], references[1]))
    assert check(points, references, DistanceBounds.fit(references, points), 0.2 * typical).tolist() == [7, 1200]


def test_a_map_a_mask_and_references_that_come_later() -> None:
    transform = Elementwise(0.5 + normal(0, D).abs(), normal(1, D))
    mask = (torch.arange(D) % 3 > 0).float()
    raw = [normal(2, 150, D).half(), normal(3, 40, D).half()]
    mapped = transform(torch.cat(raw).float()) * mask
    points = mapped[[5, 180]] + 0.01 * mask
    bounds = DistanceBounds.fit(raw[0], points, transform, mask).concat(raw[1], points, transform, mask)
    assert {5, 180} <= set(check(points, mapped, bounds, 2.0).tolist())


def test_what_is_not_a_number_has_no_bound() -> None:
    references = normal(0, 200, D)
    references[3] = math.nan
    points = torch.stack([references[0], torch.full((D,), math.nan)])
    numbers, bound = DistanceBounds.fit(references, points).near(points, torch.tensor([3.0, 3.0]))
    assert 0 in numbers.tolist() and bound.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    "references", [torch.zeros(200, D), normal(0, 1, D).repeat(200, 1), torch.full((1, D), math.nan)]
)
def test_references_without_directions(references: Tensor) -> None:
    points = references[:1].nan_to_num(0.0) + 0.001
    numbers, bound = DistanceBounds.fit(references, points).near(points, torch.tensor([3.0]))
    assert len(numbers) == (200 if len(references) == 200 else 0)
    assert bool((bound == math.inf).all()) or len(references) == 1
