"""The leaves of a Protected Index: what a search passes over holds nothing that is near."""

from __future__ import annotations

import numpy as np
import pytest
from diversity_guidance.stores.protected.search.leaves import LEAF_ROWS, Leaves, leaf_order

ROWS = 2 * LEAF_ROWS


@pytest.fixture(scope="module", params=[1, 3, 17])
def points(request: pytest.FixtureRequest) -> np.ndarray:
    """Points of different spread along each coordinate, in the order of their leaves."""
    width = request.param
    drawn = np.random.default_rng(0).standard_normal((20 * LEAF_ROWS + 5, width)) * 0.8 ** np.arange(width)
    unordered = drawn.astype(np.float32)
    order = leaf_order(unordered)
    assert np.array_equal(np.sort(order), np.arange(len(unordered)))
    return unordered[order]


@pytest.mark.parametrize("within", [0.0, 0.05, 0.5, np.inf])
def test_what_is_near_is_in_the_spans(points: np.ndarray, within: float) -> None:
    leaves = Leaves.of(points)
    queries = points[[0, 777, -1]].astype(np.float64) + 0.01
    spans = leaves.spans(queries, np.full(3, within), ROWS)
    assert all(0 < span.stop - span.start <= ROWS for span in spans)
    looked_at = np.zeros(len(points), np.int64)
    for span in spans:
        looked_at[span] += 1
    assert looked_at.max(initial=0) <= 1
    near = (np.sqrt(((points - queries[:, None]) ** 2).sum(2)) < within).any(axis=0)
    assert looked_at[near].all()


def test_what_is_far_is_passed_over(points: np.ndarray) -> None:
    spans = Leaves.of(points).spans(points[:1].astype(np.float64), np.array([0.05]), ROWS)
    assert 0 < sum(span.stop - span.start for span in spans) <= 0.3 * len(points)


def test_few_points_are_one_leaf() -> None:
    points = np.zeros((7, 2), np.float32)
    assert leaf_order(points).tolist() == list(range(7))
    assert Leaves.of(points).spans(np.zeros((1, 2)), np.array([1.0]), ROWS) == [slice(0, 7)]
    assert Leaves.of(points).spans(np.full((1, 2), 9.0), np.array([1.0]), ROWS) == []
    assert Leaves.of(points).spans(np.zeros((0, 2)), np.empty(0), ROWS) == []
