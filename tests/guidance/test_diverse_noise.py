"""Diverse Noise: single noises that no test tells from independent ones, and sets that are told apart at once."""

from __future__ import annotations

import pytest
import torch
from diversity_guidance.guidance.noise import MAX_SET, Mode, NoiseDesign
from diversity_guidance.kernels.low_frequency import coefficients, cosine_basis
from diversity_guidance.kernels.quantization import gaussian_energy_distance, quantize_gaussian
from scipy.stats import chi2, kstest, norm
from torch import Tensor

SHAPE = (4, 16, 16)
MODES: tuple[Mode, ...] = ("quantised", "simplex", "independent")
SETS = 100


def low(noise: Tensor, count: int = 12) -> Tensor:
    """The lowest frequencies of all channels, (B, C count)."""
    return coefficients(noise, cosine_basis(tuple(noise.shape[2:]), count)).flatten(1).double()


def suspicions(draws: Tensor) -> dict[str, float]:
    """p-values of single draws (N, C, H, W), independent of each other, being white Gaussian noise."""
    rows = draws.double().flatten(1)
    count, size = rows.shape
    grid = draws.double()
    neighbours = (grid[..., :, 1:] * grid[..., :, :-1]).sum((1, 2, 3)) / grid[..., :, 1:][0].numel() ** 0.5
    below = (grid[..., 1:, :] * grid[..., :-1, :]).sum((1, 2, 3)) / grid[..., 1:, :][0].numel() ** 0.5
    channel_means = grid.mean((2, 3)).flatten() * grid[0, 0].numel() ** 0.5
    channel_norms = grid.square().sum((2, 3)).flatten()
    fourth = (rows**4).mean(1)
    return {
        "norm": kstest(rows.square().sum(1).numpy(), chi2(size).cdf).pvalue,
        "norm of the low frequencies": kstest(low(draws).square().sum(1).numpy(), chi2(48).cdf).pvalue,
        "low frequencies": kstest(low(draws).flatten().numpy(), norm.cdf).pvalue,
        "channel mean": kstest(channel_means.numpy(), norm.cdf).pvalue,
        "channel deviation": kstest(channel_norms.numpy(), chi2(grid[0, 0].numel()).cdf).pvalue,
        "kurtosis": 2 * norm.sf(abs(float(fourth.mean() - 3)) / (96 / size / count) ** 0.5),
        "autocorrelation across": kstest(neighbours.numpy(), norm.cdf).pvalue,
        "autocorrelation down": kstest(below.numpy(), norm.cdf).pvalue,
        "every number": kstest(rows[:, ::7].flatten().numpy(), norm.cdf).pvalue,
    }


def one_of_each_set(mode: Mode, place: int = 3, size: int = 8) -> Tensor:
    """Noises of different seeds: independent of each other whatever their sets are."""
    return torch.cat([NoiseDesign(seed, mode, size).sample([place], SHAPE) for seed in range(SETS)])


@pytest.mark.parametrize("mode", MODES)
def test_a_single_noise_is_white_gaussian_noise(mode: Mode) -> None:
    found = suspicions(one_of_each_set(mode))
    assert min(found.values()) > 0.001, found


def test_a_noise_of_a_later_part_is_white_gaussian_noise() -> None:
    found = suspicions(one_of_each_set("quantised", place=21))
    assert min(found.values()) > 0.001, found


def test_the_naive_minimiser_is_told_at_once() -> None:
    """The same questions, asked of sets that A1 alone has designed in all numbers: it shrinks norms."""
    draws = [
        quantize_gaussian(NoiseDesign(seed, "independent", 8).sample(range(8), SHAPE), max_iterations=20)[3]
        for seed in range(20)
    ]
    found = suspicions(torch.stack(draws))
    assert found["norm"] < 1e-9 and found["kurtosis"] < 1e-9


def test_naive_low_frequencies_are_told_at_once() -> None:
    draws = one_of_each_set("independent")
    basis = cosine_basis(SHAPE[1:], 12)
    shrunk = draws - 0.2 * (coefficients(draws, basis) @ basis).view_as(draws)
    assert suspicions(shrunk)["norm of the low frequencies"] < 1e-9


def test_quantised_sets_cover_the_low_frequencies_and_leave_the_rest() -> None:
    energies = {}
    for mode in ("independent", "quantised"):
        sets = [NoiseDesign(seed, mode, 16).sample(range(16), SHAPE) for seed in range(5)]
        energies[mode] = sum(gaussian_energy_distance(low(noises)) for noises in sets) / len(sets)
    assert energies["quantised"] < 0.55 * energies["independent"]
    free, designed = (NoiseDesign(1, mode, 16).sample(range(16), SHAPE) for mode in ("independent", "quantised"))
    basis = cosine_basis(SHAPE[1:], 12)
    rest = [noises.flatten(2) - coefficients(noises, basis) @ basis for noises in (free, designed)]
    assert torch.allclose(*rest, atol=1e-5)


def test_simplex_sets_are_farther_apart() -> None:
    noises = NoiseDesign(1, "simplex", 4).sample(range(4), SHAPE).flatten(1)
    expected = (2 * noises.shape[1] * 4 / 3) ** 0.5
    assert torch.pdist(noises).tolist() == pytest.approx([expected] * 6, rel=0.06)
    assert torch.allclose(noises.sum(0), torch.zeros(noises.shape[1]), atol=1e-5)


def test_a_set_goes_on_in_the_next_part() -> None:
    """Sixteen in two parts are covered better than two sets that do not know of each other."""

    def drawn(seed: int, numbers: range) -> Tensor:
        return NoiseDesign(seed, set_size=8, designed=4).sample(numbers, SHAPE)

    whole = [drawn(seed, range(16)) for seed in range(10)]
    apart = [torch.cat([drawn(seed, range(8)), drawn(seed + 50, range(8))]) for seed in range(10)]
    known, unknown = (sum(gaussian_energy_distance(low(noises, 1)) for noises in sets) for sets in (whole, apart))
    assert known < 0.9 * unknown


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [SHAPE, (16, 3, 6, 10), (4, 9, 7), (8, 40)])
def test_every_noise_comes_out_the_same_alone(mode: Mode, shape: tuple[int, ...]) -> None:
    design = NoiseDesign(5, mode, 6)
    together = design.sample(range(14), shape)
    assert together.shape == (14, *shape) and together.dtype == torch.float32
    assert torch.equal(design.sample([13, 2], shape), together[[13, 2]])
    assert torch.equal(NoiseDesign(5, mode, 6).sample([7], shape)[0], together[7])
    assert not torch.equal(NoiseDesign(6, mode, 6).sample([7], shape)[0], together[7])


def test_drawing_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    for mode in MODES:
        NoiseDesign(1, mode).sample([0], SHAPE)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("mode", ["simplex", "independent"])
def test_a_set_of_one_is_independent_noise(mode: Mode) -> None:
    expected = NoiseDesign(3, "independent").sample([0, 1], SHAPE)
    assert torch.equal(NoiseDesign(3, mode, 1).sample([0, 1], SHAPE), expected)


@pytest.mark.parametrize("mode", MODES)
def test_more_noises_than_dimensions(mode: Mode) -> None:
    noises = NoiseDesign(3, mode, 16).sample(range(16), (1, 2, 2))
    assert torch.isfinite(noises).all() and torch.unique(noises.flatten(1), dim=0).shape[0] == 16


def test_the_noises_of_the_next_epoch_begin_afresh() -> None:
    design = NoiseDesign(3, set_size=MAX_SET)
    noises = design.sample([0, MAX_SET], (1, 4, 4))
    assert torch.isfinite(noises).all() and not torch.equal(noises[0], noises[1])


def test_noise_stays_away_from_images() -> None:
    """Images crowd on one side of their mean in the first coefficient; noise takes the other more often."""
    basis = cosine_basis(SHAPE[1:], 1)
    generator = torch.Generator().manual_seed(1)
    scores = torch.ones(40, 4, 1)
    scores[::8] = -7
    images = torch.randn((40, *SHAPE), generator=generator) * 0.1 + scores[..., None]
    free = torch.cat([NoiseDesign(seed, designed=4).sample(range(16), SHAPE) for seed in range(8)])
    away = torch.cat([NoiseDesign(seed, designed=4, avoid=images).sample(range(16), SHAPE) for seed in range(8)])
    known = torch.full((4,), 0.378, dtype=torch.float64)

    def near(noises: Tensor) -> float:
        first = coefficients(noises, basis).flatten(1).double()
        return float((first - known).norm(dim=1).lt(1.0).double().mean())

    assert near(away) < 0.6 * near(free)
    assert float(away.std()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"mode": "pink"}, "one of quantised, simplex, independent"),
        ({"set_size": 0}, "1 to 256 noises, not 0"),
        ({"set_size": 257}, "1 to 256 noises, not 257"),
        ({"designed": 0}, "at least one coefficient"),
        ({"mode": "simplex", "avoid": torch.ones(2, *SHAPE)}, "Only quantised noise"),
    ],
)
def test_bad_designs(arguments: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        NoiseDesign(0, **arguments)


@pytest.mark.parametrize("images", [torch.ones(2, 16, 16, 16), torch.ones(2, 4, 3, 16, 16)])
def test_images_of_another_model_are_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match="another model"):
        NoiseDesign(0, avoid=images).sample([0], SHAPE)


def test_images_too_small_and_numbers_below_zero_are_refused() -> None:
    with pytest.raises(ValueError, match="too small"):
        NoiseDesign(0, avoid=torch.ones(2, 4, 1, 1)).sample([0], SHAPE)
    with pytest.raises(ValueError, match="counted from 0"):
        NoiseDesign(0).sample([-1], SHAPE)


def test_one_image_or_equal_ones_change_nothing() -> None:
    expected = NoiseDesign(0).sample(range(4), SHAPE)
    alone = NoiseDesign(0, avoid=torch.ones(1, *SHAPE))
    assert torch.equal(alone.sample(range(4), SHAPE), expected)
    assert (NoiseDesign(0).avoided, alone.avoided) == (0, 0)
    assert [NoiseDesign(0, avoid=torch.ones(count, *SHAPE)).avoided for count in (2, 300)] == [2, 256]
    assert torch.isfinite(NoiseDesign(0, avoid=torch.ones(5, *SHAPE)).sample(range(4), SHAPE)).all()
