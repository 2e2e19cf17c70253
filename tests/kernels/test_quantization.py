"""Quantization: the minimum that gradient descent finds, laws of single points, and choosing among members."""

from __future__ import annotations

import itertools

import pytest
import torch
from diversity_guidance.benchmarks.sample_quantization import quantize_samples
from diversity_guidance.kernels.low_frequency import (
    coefficients,
    cosine_basis,
    lowest_frequencies,
    with_coefficients,
)
from diversity_guidance.kernels.quantization import (
    gaussian_energy_distance,
    huber_energy_distance,
    quantize_gaussian,
    simplex_noise,
    stratified_chi_radii,
)
from diversity_guidance.kernels.representatives import choose_representatives, kind_weights
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi, kstest
from support.energy_gradients import gaussian_energy_gradient, huber_energy_gradient
from torch import Tensor


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def with_adam(points: Tensor, gradient: object, iterations: int = 1000) -> Tensor:
    """The published search: Adam at rate 0.1 for 1000 iterations."""
    assert callable(gradient)
    leaf = points.clone().requires_grad_()
    search = torch.optim.Adam([leaf], lr=0.1)
    for _ in range(iterations):
        leaf.grad = gradient(leaf.detach())
        search.step()
    return leaf.detach()


@pytest.mark.parametrize(("count", "dimension"), [(10, 2), (8, 16)])
def test_a1_reaches_what_adam_reaches(count: int, dimension: int) -> None:
    start = gaussian(1, count, dimension)
    reached = gaussian_energy_distance(with_adam(start, gaussian_energy_gradient))
    found = gaussian_energy_distance(quantize_gaussian(start))
    assert found <= reached * 1.01
    assert found < gaussian_energy_distance(start) / 2


def test_a2_reaches_what_adam_reaches() -> None:
    start, samples = gaussian(2, 6, 2), gaussian(3, 300, 2) * torch.tensor([2.0, 0.5]) + 1
    reached = with_adam(start, lambda points: huber_energy_gradient(points, samples))
    found = quantize_samples(start, samples)
    assert huber_energy_distance(found, samples) <= 1.02 * huber_energy_distance(reached, samples)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 4), st.integers(0, 1000), st.booleans())
def test_the_distance_falls_in_every_iteration(count: int, dimension: int, known: int, seed: int, keep: bool) -> None:
    points, fixed = gaussian(seed, count, dimension), gaussian(seed + 1, known, dimension)
    distances = []
    for _ in range(5):
        distances.append(gaussian_energy_distance(torch.cat([points, fixed])))
        points = quantize_gaussian(points, fixed, keep_norms=keep, max_iterations=1)
    assert all(after <= before + 1e-12 for before, after in itertools.pairwise(distances))


def test_a_point_alone_goes_to_the_middle_or_stays_on_its_sphere() -> None:
    point = gaussian(4, 1, 3)
    assert torch.equal(quantize_gaussian(point), torch.zeros_like(point))
    assert torch.equal(quantize_gaussian(point, keep_norms=True), point)


def test_the_naive_minimiser_shrinks_and_keeping_norms_does_not() -> None:
    """The optimum of J points in many dimensions has the radius sqrt((J - 1) / (J + 1)) of Gaussian ones."""
    start = gaussian(5, 4, 4096)
    shrunk = quantize_gaussian(start).norm(dim=1) / 64
    assert shrunk.tolist() == pytest.approx([0.7746] * 4, abs=0.002)
    kept = quantize_gaussian(start, keep_norms=True)
    assert torch.allclose(kept.norm(dim=1), start.norm(dim=1))
    assert gaussian_energy_distance(kept) < gaussian_energy_distance(start)


def test_new_points_stay_away_from_drawn_ones() -> None:
    fixed = gaussian(6, 12, 2).abs()  # one quadrant is taken
    new = quantize_gaussian(gaussian(7, 6, 2), fixed, keep_norms=True)
    taken = (new > 0).all(1).sum()
    assert taken == 0
    alone = quantize_gaussian(gaussian(7, 6, 2), keep_norms=True)
    assert (alone > 0).all(1).any()


def test_quantising_turns_with_its_points() -> None:
    """What the law of single points rests on: the search knows no direction."""
    start, fixed = gaussian(8, 5, 3), gaussian(9, 4, 3)
    turn = torch.linalg.qr(gaussian(10, 3, 3)).Q
    turned = quantize_gaussian(start @ turn, fixed @ turn, keep_norms=True)
    assert torch.allclose(turned, quantize_gaussian(start, fixed, keep_norms=True) @ turn, atol=1e-8)


def test_single_lengths_are_chi_and_a_set_has_one_in_each_range() -> None:
    sets = torch.stack([stratified_chi_radii(8, 5, generator(seed)) for seed in range(400)])
    assert kstest(sets[:, 0].numpy(), chi(5).cdf).pvalue > 0.01
    ranges = torch.from_numpy(chi(5).cdf(sets.numpy()) * 8).floor().sort(dim=1).values
    assert torch.equal(ranges, torch.arange(8.0, dtype=torch.float64).expand(400, 8))


@pytest.mark.parametrize("count", [2, 3, 8])
def test_simplex_noise_is_a_regular_simplex(count: int) -> None:
    noise = simplex_noise(gaussian(11, count, 4, 64, 64))
    rows = noise.flatten(1)
    correlation = torch.corrcoef(rows)
    off = correlation[~torch.eye(count, dtype=torch.bool)]
    assert off.tolist() == pytest.approx([-1 / (count - 1)] * len(off), abs=0.03)
    assert torch.allclose(noise.sum(0), torch.zeros_like(noise[0]), atol=1e-9)
    assert rows.std(1).tolist() == pytest.approx([1] * count, abs=0.02)


def test_simplex_vector() -> None:
    noise = torch.tensor([[0.12573022, -0.13210486], [0.7, 0.1], [-0.4, 0.3]])
    expected = (noise[0] - noise.mean(0)) * (3 / 2) ** 0.5
    assert torch.allclose(simplex_noise(noise)[0], expected)
    single = noise[:1]
    assert simplex_noise(single) is single
    with pytest.raises(ValueError, match="at least one"):
        simplex_noise(noise[:0])


def test_points_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="have 4 numbers each and the points 3"):
        quantize_gaussian(torch.ones(2, 3), torch.ones(2, 4))


@pytest.mark.parametrize("sizes", [(8, 8), (6, 10), (3, 4, 5), (7,)])
def test_the_cosine_basis_is_orthonormal_and_exchanging_is_exact(sizes: tuple[int, ...]) -> None:
    basis = cosine_basis(sizes, 6)
    assert torch.allclose(basis @ basis.T, torch.eye(6), atol=1e-6)
    latents, new = gaussian(12, 2, 3, *sizes).float(), gaussian(13, 2, 3, 6).float()
    changed = with_coefficients(latents, basis, new)
    assert torch.allclose(coefficients(changed, basis), new, atol=1e-5)
    rest = (changed - latents).flatten(2)
    assert torch.allclose(rest, rest @ basis.T @ basis, atol=1e-5)


def test_frequencies_come_lowest_first_and_do_not_depend_on_the_size() -> None:
    assert lowest_frequencies((16, 16), 4) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert lowest_frequencies((90, 160), 9) == lowest_frequencies((64, 64), 9)
    assert lowest_frequencies((1, 8, 8), 3) == [(0, 0, 0), (0, 0, 1), (0, 1, 0)]
    assert len(lowest_frequencies((1, 2), 9)) == 2


@given(st.integers(2, 9), st.integers(0, 1000), st.data())
def test_representatives_are_the_best_of_all(members: int, seed: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, members))
    items = gaussian(seed, members, 3)
    distances = torch.cdist(items, items)
    chosen = choose_representatives(distances, count)

    def energy(places: tuple[int, ...]) -> float:
        return huber_energy_distance(items[list(places)], items, 0.0)

    best = min(map(energy, itertools.combinations(range(members), count)))
    assert chosen == sorted(set(chosen)) and len(chosen) == count
    assert energy(tuple(chosen)) <= best + 1e-9


def test_no_exchange_improves_the_choice_among_many() -> None:
    items = gaussian(15, 60, 4)
    chosen = choose_representatives(torch.cdist(items, items), 6)
    found = huber_energy_distance(items[chosen], items, 0.0)
    for place, new in itertools.product(range(6), set(range(60)) - set(chosen)):
        exchanged = [*chosen[:place], new, *chosen[place + 1 :]]
        assert huber_energy_distance(items[exchanged], items, 0.0) >= found - 1e-9
    by_chance = [huber_energy_distance(gaussian(seed, 60, 4)[:6], items, 0.0) for seed in range(20)]
    assert found < min(by_chance)


def test_representatives_of_clusters_take_one_of_each() -> None:
    centres = torch.tensor([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0]], dtype=torch.float64)
    items = (centres[:, None] + gaussian(14, 3, 5, 2)).flatten(0, 1)
    chosen = choose_representatives(torch.cdist(items, items), 3)
    assert [place // 5 for place in chosen] == [0, 1, 2]


@pytest.mark.parametrize("alike", [5, 11, 30])
def test_the_only_different_member_is_chosen_where_each_kind_counts_once(alike: int) -> None:
    items = torch.cat([gaussian(16, alike, 6), gaussian(17, 1, 6) + 6])
    distances = torch.cdist(items, items)
    assert alike not in choose_representatives(distances, 2), "by its share of the set it is dropped"
    assert alike in choose_representatives(distances, 2, kind_weights(distances))
    assert alike in choose_representatives(distances, 4, kind_weights(distances))


def test_members_that_are_equally_far_apart_weigh_the_same() -> None:
    torch.testing.assert_close(kind_weights(1 - torch.eye(5, dtype=torch.float64)), torch.full((5,), 0.2).double())
    torch.testing.assert_close(kind_weights(torch.zeros(4, 4)), torch.full((4,), 0.25).double())
    weights = kind_weights(torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [1.0, 1.0, 0.0]]))
    torch.testing.assert_close(weights, torch.tensor([0.25, 0.25, 0.5]).double())


@pytest.mark.parametrize("members", [6, 60])
def test_costs_decide_among_near_equals_and_not_among_others(members: int) -> None:
    kinds = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]], dtype=torch.float64)
    items = kinds.repeat_interleave(members // 3, 0) + 0.01 * gaussian(18, members, 2)
    wanted = [kind * (members // 3) + 1 for kind in range(3)]
    costs = torch.ones(members)
    costs[wanted] = 0
    assert choose_representatives(torch.cdist(items, items), 3, costs=costs) == wanted


@pytest.mark.parametrize("count", [0, 4])
def test_more_representatives_than_members_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match="choose from 1 to 3"):
        choose_representatives(torch.zeros(3, 3), count)
