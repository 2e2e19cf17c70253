"""Precision, recall, density, coverage: known values, the reference package, and ties decided exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diversity_guidance.kernels import manifold
from diversity_guidance.kernels.manifold import ManifoldScores, prdc
from hypothesis import given
from hypothesis import strategies as st
from support.missing import library


def defined(real: torch.Tensor, generated: torch.Tensor, k: int) -> tuple[float, ...]:
    """The definitions, one pair at a time."""

    def reach(items: torch.Tensor) -> torch.Tensor:
        distances = (items[:, None] - items).square().sum(2)
        return distances.fill_diagonal_(torch.inf).sort(1).values[:, k - 1]

    real, generated = real.double(), generated.double()
    distances = (real[:, None] - generated).square().sum(2)
    in_real = distances < reach(real)[:, None]
    in_generated = distances < reach(generated)
    return (
        in_real.any(0).double().mean().item(),
        in_generated.any(1).double().mean().item(),
        in_real.sum().item() / (k * len(generated)),
        in_real.any(1).double().mean().item(),
    )


def sets(seed: int, n: int, m: int, d: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = np.random.default_rng(seed)
    return torch.as_tensor(generator.standard_normal((n, d))), torch.as_tensor(generator.standard_normal((m, d)))


@pytest.mark.parametrize(
    ("k", "scores"),
    [(1, (0.75, 0.34, 1.05, 0.36)), (3, (0.925, 0.54, 1.35, 0.84)), (5, (0.95, 0.64, 1.29, 0.94))],
)
def test_a_narrower_shifted_set(k: int, scores: tuple[float, ...]) -> None:
    real, generated = sets(0, 50, 40, 8)
    assert prdc(real, 0.8 * generated + 0.3, k) == pytest.approx(scores)


@pytest.mark.parametrize(("k", "scores"), [(3, (0.65, 0.61, 0.60, 0.61)), (5, (0.75, 0.74, 0.68, 0.83))])
def test_a_shifted_set(k: int, scores: tuple[float, ...]) -> None:
    generator = np.random.RandomState(42)
    real, generated = generator.randn(100, 16), generator.randn(100, 16) + 0.5
    assert prdc(real, generated, k) == pytest.approx(scores)


@pytest.mark.parametrize(
    ("k", "scores"), [(1, (0.75, 1, 1.25, 0.8)), (2, (0.75, 1, 0.875, 1)), (3, (0.75, 1, 5 / 6, 1))]
)
def test_points_on_a_line_with_ties(k: int, scores: tuple[float, ...]) -> None:
    """Also with k + 1 items in a set, the fewest for which there is a k-th neighbour."""
    real = torch.tensor([[0.0], [1], [2], [3], [10]])
    generated = torch.tensor([[0.5], [1.5], [9], [20]])
    assert prdc(real, generated, k) == pytest.approx(scores)


@given(
    seed=st.integers(0, 999),
    n=st.integers(4, 30),
    m=st.integers(4, 30),
    d=st.integers(1, 6),
    k=st.integers(1, 3),
    grid=st.booleans(),
)
def test_definitions_hold_also_on_grids_full_of_ties(seed: int, n: int, m: int, d: int, k: int, grid: bool) -> None:
    real, generated = sets(seed, n, m, d)
    if grid:
        real, generated = real.round(), generated.round()
    assert prdc(real, generated, k) == pytest.approx(defined(real, generated, k))


@pytest.mark.parametrize("grid", [False, True])
def test_several_blocks_make_the_same_scores(grid: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    real, generated = sets(1, 70, 45, 3)
    if grid:
        real, generated = real.round(), generated.round()
    monkeypatch.setattr(manifold, "_BLOCK", 16)
    monkeypatch.setattr(manifold, "_PAIR_BUDGET", 64)
    assert prdc(real, generated, 4) == pytest.approx(defined(real, generated, 4))


def test_reference_package_agrees_on_well_separated_sets() -> None:
    package = library("prdc")
    real, generated = sets(2, 300, 200, 32)
    for k in (1, 5, 10):
        expected = package.compute_prdc(real.numpy(), generated.numpy(), nearest_k=k)
        assert prdc(real, generated, k)._asdict() == pytest.approx(expected)


@given(seed=st.integers(0, 999), k=st.integers(1, 5))
def test_a_set_matches_itself_perfectly(seed: int, k: int) -> None:
    """The k-th neighbour lies on the ball's border, so that exactly k - 1 others and the item itself are inside."""
    real = sets(seed, 40, 1, 5)[0].float()
    assert prdc(real, real.flip(0), k) == ManifoldScores(1, 1, 1, 1)


def test_far_from_the_origin_nothing_changes() -> None:
    """On a grid of 1/128 the shifted coordinates are exact, so that every tie must be found again."""
    real, generated = ((items * 128).round() / 128 for items in sets(3, 60, 50, 4))
    offset = 2.0**20
    assert prdc(real + offset, generated + offset, 3) == pytest.approx(defined(real, generated, 3))


def test_one_outlier_does_not_blind_the_others() -> None:
    real, generated = sets(4, 60, 50, 4)
    real[0] = 1e6
    assert prdc(real, generated, 3) == pytest.approx(defined(real, generated, 3))


def test_collapsed_sets_score_zero() -> None:
    ones = torch.ones(30, 4)
    assert prdc(ones, ones, 3) == ManifoldScores(0, 0, 0, 0)
    real = sets(5, 30, 1, 4)[0].float()
    assert prdc(real, real[:1].expand(20, -1), 3).recall == 0


@given(seed=st.integers(0, 999), scale=st.sampled_from([1e-20, 1.0, 1e20]))
def test_order_and_units_do_not_matter(seed: int, scale: float) -> None:
    real, generated = sets(seed, 20, 15, 3)
    expected = prdc(real, generated, 2)
    assert prdc(real.flip(0) * scale, generated.flip(0) * scale, 2) == pytest.approx(expected)
    swapped = prdc(generated, real, 2)
    assert (swapped.precision, swapped.recall) == (expected.recall, expected.precision)


def test_images_and_half_precision_are_taken() -> None:
    real = torch.randn(9, 3, 2, 2, generator=torch.Generator().manual_seed(0)).half()
    assert prdc(real, real, 2) == ManifoldScores(1, 1, 1, 1)


@pytest.mark.parametrize(
    ("real", "generated", "k", "message"),
    [
        (torch.ones(3, 2), torch.ones(9, 2), 3, "at least 4 items"),
        (torch.ones(9, 2), torch.ones(3, 2), 3, "at least 4 items"),
        (torch.ones(0, 2), torch.ones(9, 2), 1, "at least 2 items"),
        (torch.ones(9, 2), torch.ones(9, 2), 0, "at least 1"),
        (torch.ones(9, 2), torch.ones(9, 3), 1, "extract both alike"),
        (torch.full((9, 2), torch.nan), torch.ones(9, 2), 1, "real items must be finite"),
        (torch.ones(9, 2), torch.full((9, 2), torch.inf), 1, "generated items must be finite"),
    ],
)
def test_bad_input_is_refused_with_a_sentence(
    real: torch.Tensor, generated: torch.Tensor, k: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        prdc(real, generated, k)
