"""Bounds from an earlier step: no reference inside is lost however estimates move, and what is far is not looked at."""

from __future__ import annotations

import math

import torch
from diversity_guidance.kernels.precision import product_rounding
from diversity_guidance.kernels.repellency import distances
from diversity_guidance.kernels.shields.distance_bounds import DistanceBounds
from diversity_guidance.kernels.shields.drift_bounds import MAX_CHOSEN, DriftBounds
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

D, COUNT = 256, 200


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def step(drift: DriftBounds, points: Tensor, references: Tensor, radius: float) -> Tensor:
    """What a sampling step reads; checks that it is all that is inside, and what is said of all others."""
    bounds = DistanceBounds.fit(references[:COUNT], points)
    if len(references) > COUNT:
        bounds = bounds.concat(references[COUNT:], points, None, None)
    numbers, others = drift.near(bounds, points, torch.full((len(points),), radius))
    exact = torch.cdist(points.double(), references.double(), compute_mode="donot_use_mm_for_euclid_dist")
    assert set((exact <= radius).any(0).nonzero().flatten().tolist()) <= set(numbers.tolist())
    left = torch.ones(len(references), dtype=torch.bool)
    left[numbers] = False
    assert not bool((others[:, None] > exact[:, left] * (1 + 1e-6)).any())
    chosen = None if len(numbers) > MAX_CHOSEN * len(references) else numbers
    read = references if chosen is None else references[chosen]
    scale = points.square().sum(1, keepdim=True) + read.square().sum(1)
    drift.note(chosen, distances(points, read), scale)
    return numbers


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    moves=st.lists(st.floats(0, 1), min_size=1, max_size=6),
    radius=st.floats(0.01, 1.2),
    behind=st.integers(0, 3),
    size=st.floats(1e-3, 1e3),
)
def test_no_reference_inside_is_lost(seed: int, moves: list[float], radius: float, behind: int, size: float) -> None:
    """Estimates that move, change places and change their number, beside references that come and go."""
    references, points, drift = size * normal(seed, COUNT, D), size * normal(seed + 1, 3, D), DriftBounds(COUNT)
    for number, move in enumerate(moves):
        towards = references[torch.randint(COUNT, (len(points),), generator=torch.Generator().manual_seed(number))]
        points = (points + move * (towards - points)).flip(0)
        points = torch.cat([points, points[:1]]) if number == 3 else points
        further = size * normal(seed + number, behind * (number % 2), D)
        step(drift, points, torch.cat([references, further]), radius * size * math.sqrt(2 * D))


def test_among_white_noise_only_the_first_step_reads_all() -> None:
    values = 16 * D
    references, points, drift = normal(0, COUNT, values), normal(1, 4, values), DriftBounds(COUNT)
    radius, moves = 0.3 * math.sqrt(2 * values), (0, 0, 0.1, 0.3)
    read = [len(step(drift, points + share * normal(2, 4, values), references, radius)) for share in moves]
    assert read[0] > MAX_CHOSEN * COUNT and read[1:] == [0, 0, 0]


def test_what_is_measured_by_a_product_has_a_margin_for_its_rounding() -> None:
    references, points, drift = normal(0, COUNT, D), normal(1, 1, D), DriftBounds(COUNT)
    bounds = DistanceBounds.fit(references, points)
    exact, scale = torch.cdist(points, references), points.square().sum(1, keepdim=True) + references.square().sum(1)
    drift.near(bounds, points, exact.amax(1))
    drift.note(None, (exact.square() + 0.9 * product_rounding(D) * scale).sqrt(), scale)
    nearest = exact.amin(1)
    assert drift.near(bounds, points, nearest * (1 + 1e-6))[0].tolist() == [int(exact.argmin())]


def test_what_a_moved_estimate_is_from_a_reference_tells_nothing_of_where_it_was() -> None:
    references, drift = normal(0, COUNT, 16 * D), DriftBounds(COUNT)
    away = torch.nn.functional.normalize(normal(1, 1, 16 * D))
    for distance, read in ((3, True), (6, True), (3, True), (300, False)):
        assert (0 in step(drift, references[:1] + distance * away, references, 5.0).tolist()) == read


def test_an_estimate_that_is_not_a_number_tells_nothing() -> None:
    references, drift = normal(0, COUNT, D), DriftBounds(COUNT)
    step(drift, torch.full((2, D), math.nan), references, 5.0)
    assert {3, 7} <= set(step(drift, references[[3, 7]], references, 5.0).tolist())
