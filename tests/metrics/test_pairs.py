"""Pairs and near-duplicates against brute force."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from diversity_guidance.metrics.measures import pairs
from diversity_guidance.metrics.measures.pairs import near_duplicates, scan_pairs
from hypothesis import given
from hypothesis import strategies as st


def unit_rows(count: int, seed: int, dimension: int = 6) -> torch.Tensor:
    rows = torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed))
    return rows / rows.norm(dim=1, keepdim=True)


def brute(features: torch.Tensor) -> dict[tuple[int, int], float]:
    return {
        (i, j): float((features[i].double() - features[j].double()).norm())
        for i, j in itertools.combinations(range(len(features)), 2)
    }


@pytest.fixture(params=[3, 2048], ids=["small blocks", "one block"])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "_BLOCK", request.param)


@pytest.mark.usefixtures("block")
def test_scan_agrees_with_brute_force() -> None:
    features = unit_rows(11, seed=0)
    truth = brute(features)
    scan = scan_pairs(features, near=1.2, keep=7)
    assert scan.mean == pytest.approx(sum(truth.values()) / len(truth), rel=1e-6)
    assert scan.near_count == sum(distance < 1.2 for distance in truth.values())
    expected = sorted(truth.items(), key=lambda item: item[1])[:7]
    assert [(pair.first, pair.second) for pair in scan.closest] == [names for names, _ in expected]
    assert [pair.distance for pair in scan.closest] == pytest.approx([distance for _, distance in expected])


def test_error_of_the_mean_is_the_jackknife() -> None:
    features = unit_rows(9, seed=1)
    without = [scan_pairs(torch.cat([features[:i], features[i + 1 :]]), 0).mean for i in range(9)]
    jackknife = math.sqrt(8 / 9 * sum((mean - sum(without) / 9) ** 2 for mean in without))
    assert scan_pairs(features, 0).error == pytest.approx(jackknife, rel=1e-4)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_for_a_mean_or_its_error(count: int) -> None:
    scan = scan_pairs(unit_rows(count, seed=2), near=2.0)
    assert math.isnan(scan.mean) == (count < 2)
    assert math.isnan(scan.error)
    assert len(scan.closest) == scan.near_count == (count == 2)


def test_copies_are_pairs_at_distance_zero() -> None:
    features = unit_rows(1, seed=3).expand(5, -1)
    scan = scan_pairs(features, near=0.01, keep=4)
    assert scan.near_count == 10
    assert [pair.distance for pair in scan.closest] == [0.0] * 4


@given(st.integers(0, 12), st.integers(0, 1000), st.floats(0, 1.5))
def test_kept_images_are_apart_and_rejected_ones_near_the_one_they_repeat(
    count: int, seed: int, distance: float
) -> None:
    features = unit_rows(count, seed, dimension=3)
    result = near_duplicates(features, distance)
    truth = brute(features)
    assert sorted(result.kept + result.rejected) == list(range(count))
    assert all(truth[i, j] > distance - 1e-5 for i, j in itertools.combinations(result.kept, 2))
    for image, original in zip(result.rejected, result.duplicate_of, strict=True):
        assert original in result.kept
        assert truth[min(image, original), max(image, original)] < distance + 1e-5
    if count:
        assert result.kept[0] == 0
    assert sum(len(cluster) - 1 for cluster in result.clusters) == len(result.rejected)


@pytest.mark.usefixtures("block")
def test_the_first_of_each_kind_is_kept() -> None:
    kinds = unit_rows(4, seed=5)
    result = near_duplicates(kinds[[0, 1, 0, 2, 1, 0, 3]], 0.1)
    assert result.kept == (0, 1, 3, 6)
    assert result.rejected == (2, 4, 5)
    assert result.duplicate_of == (0, 1, 0)
    assert result.clusters == ((0, 2, 5), (1, 4))


def test_a_negative_distance_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        near_duplicates(unit_rows(2, 0), -0.1)
