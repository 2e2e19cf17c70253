"""Retrieval and the Image Retrieval Score: brute force and published numbers."""

from __future__ import annotations

import sys

import pytest
import torch
from diversity_guidance.benchmarks.irs.approximate import ApproximateIndex
from diversity_guidance.metrics.measures.neighbours import ReferenceIndex
from diversity_guidance.metrics.measures.retrieval import (
    adjusted_score,
    distinct_counts,
    ideal_share,
    measure_retrieval,
)
from hypothesis import given
from hypothesis import strategies as st
from support.missing import library


def rows(count: int, seed: int, dimension: int = 8) -> torch.Tensor:
    return torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed))


def retrieve_distinct(learned: int, draws: int) -> torch.Tensor:
    """Indices of ``draws`` images that retrieve ``learned`` different references."""
    return torch.arange(draws) % learned


def test_nearest_agrees_with_brute_force() -> None:
    references, queries = rows(300, 0) * torch.linspace(0.1, 3, 300)[:, None], rows(50, 1)
    euclidean = torch.cdist(queries.double(), references.double()).argmin(1)
    assert torch.equal(ReferenceIndex(references).nearest(queries), euclidean)
    cosine = (queries @ (references / references.norm(dim=1, keepdim=True)).T).argmax(1)
    assert torch.equal(ReferenceIndex(references, "cosine").nearest(queries), cosine)
    assert not torch.equal(euclidean, cosine)


def test_near_ties_are_decided_by_the_difference() -> None:
    # A matrix product of these in float32 rounds differences of 1e-3 away.
    references = 1000 + torch.tensor([[0.0, 0.0], [1e-2, 0.0], [2e-2, 0.0]])
    assert ReferenceIndex(references).nearest(references).tolist() == [0, 1, 2]


def test_of_equal_references_the_first_is_retrieved() -> None:
    references = rows(5, 2)[[0, 1, 1, 2, 1, 3]]
    assert ReferenceIndex(references).nearest(references[4:5]).tolist() == [1]


def test_approximate_search_finds_nearly_always_the_nearest() -> None:
    library("faiss")
    references, queries = rows(4000, 3), rows(400, 4)
    agreement = (
        (ReferenceIndex(references).nearest(queries) == ApproximateIndex(references).nearest(queries)).float().mean()
    )
    assert agreement > 0.6


def test_bad_sets_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="empty reference set"):
        ReferenceIndex(rows(0, 0))
    with pytest.raises(ValueError, match="extract both alike"):
        ReferenceIndex(rows(3, 0)).nearest(rows(2, 0, 5))
    with pytest.raises(ValueError, match="NaN"):
        ReferenceIndex(rows(3, 0)).nearest(rows(2, 0) * torch.nan)
    assert ReferenceIndex(rows(3, 0)).nearest(rows(0, 0)).shape == (0,)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ValueError, match="pip install faiss-cpu"):
        ApproximateIndex(rows(3, 0))


@pytest.mark.parametrize(
    ("references", "draws", "learned", "bounds"),
    [
        (32, 15, 10, (11, 16, 32)),
        (100, 100, 63, (82, 98, 100)),
        (800, 60, 50, (101, 157, 280)),
        (10, 20, 10, (10, 10, 10)),
        (100, 50, 1, (1, 1, 1)),
    ],
)
def test_published_scores(references: int, draws: int, learned: int, bounds: tuple[int, int, int]) -> None:
    result = measure_retrieval(retrieve_distinct(learned, draws), references)
    assert (result.lower, result.infinity, result.upper) == pytest.approx([bound / references for bound in bounds])
    assert result.irs_alpha == learned / references
    assert result.curve[-1] == (draws, learned)


@given(st.lists(st.lists(st.integers(0, 9), max_size=8), max_size=5))
def test_distinct_counts_grow_batch_by_batch(batches: list[list[int]]) -> None:
    counts = distinct_counts([torch.tensor(batch, dtype=torch.int64) for batch in batches], 10)
    drawn = [index for batch in batches for index in batch]
    assert counts.tolist() == [len(set(drawn[: end + 1])) for end in range(len(drawn))]


def test_curve_is_short_and_ends_with_all() -> None:
    result = measure_retrieval(torch.arange(1000) % 77, 100)
    assert len(result.curve) <= 66
    assert result.curve[0] == (1, 1) and result.curve[-1] == (1000, 77)
    assert result.alpha == 10


def test_ideal_shares() -> None:
    assert ideal_share(7000, 3000) == pytest.approx(0.9030657445)
    assert ideal_share(50, 100, support=1) == 0.01


def test_adjusted_score_compares_equally_many_draws() -> None:
    generated = measure_retrieval(retrieve_distinct(40, 80), 100)
    real = measure_retrieval(retrieve_distinct(50, 80), 100)
    adjusted = adjusted_score(generated, real)
    assert adjusted.draws == 80
    assert adjusted.lower < adjusted.value == generated.infinity / real.infinity < adjusted.upper
    assert adjusted_score(real, real).value == 1
    with pytest.raises(ValueError, match="take equally many"):
        adjusted_score(generated, measure_retrieval(retrieve_distinct(50, 81), 100))


def test_indices_out_of_range_and_no_images_are_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 4"):
        measure_retrieval(torch.tensor([5]), 5)
    with pytest.raises(ValueError, match="at least one"):
        measure_retrieval(torch.zeros(0, dtype=torch.int64), 5)
