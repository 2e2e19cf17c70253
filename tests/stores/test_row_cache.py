"""Rows that are kept during a run, and what a product with all of them says of distances."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from diversity_guidance.stores.protected.search import row_cache
from diversity_guidance.stores.protected.search.row_cache import RowCache
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

COUNT = 40


class Table:
    """Rows that are read by number, and how often."""

    def __init__(self, rows: NDArray[np.float32]) -> None:
        self.rows = rows
        self.reads: list[list[int]] = []

    def read(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        self.reads.append(numbers.tolist())
        return self.rows[numbers]


def cached(width: int, limit: int = row_cache.CACHE_BYTES) -> tuple[Table, RowCache]:
    table = Table(np.random.default_rng(0).normal(size=(COUNT, width)).astype(np.float32))
    return table, RowCache(table.read, COUNT, width, limit)


@settings(max_examples=200)
@given(
    width=st.sampled_from([1, 3, 64, 1500]),
    size=st.sampled_from([0.0, 1e-42, 1e-23, 1e-19, 1e-8, 1.0, 6e4]),
    far=st.sampled_from([0.0, 1e-3, 1.0, 1e15, 1e30]),
    shared=st.booleans(),
    terms=st.sampled_from([7, row_cache.TERMS]),
    seed=st.integers(0, 2**31),
)
def test_a_product_never_says_more_than_the_distance(
    width: int, size: float, far: float, shared: bool, terms: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = (size * (rng.normal(size=(COUNT, width)) / 5 + shared * 3)).astype(np.float32)
    points = rows[:5] + (far * max(size, 1e-30) * rng.normal(size=(5, width))).astype(np.float32)
    pairs = np.divmod(np.arange(5 * COUNT), COUNT)
    cache = RowCache(lambda numbers: rows[numbers], COUNT, width)
    cache.rows(np.arange(COUNT)[::-1])
    with mock.patch.object(row_cache, "TERMS", terms):
        least = cache.least(points, *pairs)
    true = np.linalg.norm(points.astype(np.longdouble)[pairs[0]] - rows[pairs[1]], axis=1)
    assert (least <= true).all()


def test_a_product_tells_most_of_the_distance() -> None:
    table, cache = cached(2500)
    points = np.random.default_rng(1).normal(size=(3, 2500)).astype(np.float32)
    for known in (COUNT // 2, COUNT):
        pairs = np.divmod(np.arange(3 * known), known)
        cache.rows(pairs[1])
        true = np.linalg.norm(points.astype(np.float64)[pairs[0]] - table.rows[pairs[1]], axis=1)
        np.testing.assert_allclose(cache.least(points, *pairs), true, rtol=1e-4)


def test_a_product_is_worth_it_for_many_values_and_few_rows() -> None:
    _, cache = cached(4096)
    some = np.arange(40) % 20
    assert not cache.kept(some).any()
    cache.rows(some)
    assert cache.kept(some).all() and not cache.kept(some[:31]).any()
    assert cache.kept(np.append(some, 39)).tolist() == [True] * 40 + [False]
    _, cache = cached(16_384)
    cache.rows(np.arange(20))
    assert cache.kept(some[:10]).all() and not cache.kept(some[:9]).any()


def test_a_row_is_read_once_while_there_is_room() -> None:
    table, cache = cached(4, limit=6 * 4 * 4)
    for numbers in ([3, 1, 3], [1, 5, 1, 0], [3, 0]):
        np.testing.assert_array_equal(cache.rows(np.array(numbers)), table.rows[numbers])
    assert sorted(number for numbers in table.reads for number in numbers) == [0, 1, 3, 5] and cache.fetched == 4
    cache.least(table.rows[:1], np.zeros(4, np.int64), np.array([0, 1, 3, 5]))
    # No room for all seven: what is asked for is read again, the rest is forgotten.
    np.testing.assert_array_equal(cache.rows(np.array([7, 8, 9, 7, 1])), table.rows[[7, 8, 9, 7, 1]])
    assert sorted(table.reads[-1]) == [1, 7, 8, 9]
    least = cache.least(table.rows[:1], np.zeros(3, np.int64), np.array([1, 7, 9]))
    true = np.linalg.norm(table.rows[[1, 7, 9]].astype(np.float64) - table.rows[0], axis=1)
    np.testing.assert_allclose(least, true, rtol=1e-4)


def test_rows_that_cannot_be_read_are_still_missing() -> None:
    table, cache = cached(4)
    with mock.patch.object(cache, "_read", side_effect=OSError), pytest.raises(OSError):
        cache.rows(np.array([2, 2, 1]))
    np.testing.assert_array_equal(cache.rows(np.array([2, 1])), table.rows[[2, 1]])
    assert cache.fetched == 2
