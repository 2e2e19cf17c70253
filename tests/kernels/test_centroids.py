"""Channel means, shifts and the Euclidean map."""

from __future__ import annotations

import math

import pytest
import torch
from diversity_guidance.kernels.centroids import (
    channel_means,
    classical_scaling,
    dilation_shift,
    interpolate,
    joint_principal_rows,
    principal_rows,
    shared_direction,
    shift_channels,
    squared_separations,
    target_shift,
)
from torch import Tensor


def rows(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("shape", "axis"), [((2, 5, 4, 3), 1), ((2, 7, 5), -1), ((2, 3, 4, 4, 5), -1)])
def test_means_are_those_of_each_channel(shape: tuple[int, ...], axis: int) -> None:
    values = rows(0, *shape)
    flat = values.movedim(axis, 1).flatten(2)
    assert torch.allclose(channel_means(values, axis), flat.mean(2))


def test_means_of_half_precision_are_summed_in_single() -> None:
    values = torch.full((1, 60000, 1), 1.001, dtype=torch.float16)
    assert channel_means(values, -1).item() == pytest.approx(values[0, 0, 0].item(), rel=1e-6)


@pytest.mark.parametrize("axis", [1, -1])
def test_a_shift_moves_the_means_and_keeps_norm_and_pattern(axis: int) -> None:
    values, shift = rows(1, 2, 6, 6, 6), rows(2, 2, 6)
    shifted = shift_channels(values, shift, axis)
    assert torch.allclose(shifted.flatten(1).norm(dim=1), values.flatten(1).norm(dim=1))
    before, after = values.movedim(axis, 1), shifted.movedim(axis, 1)
    scale = (after[:, 0, 0, 0] - after[:, 0, 0, 1]) / (before[:, 0, 0, 0] - before[:, 0, 0, 1])
    assert torch.allclose(
        after / scale.view(-1, 1, 1, 1) - before, shift[:, :, None, None].expand_as(before), atol=1e-5
    )


def test_a_shift_keeps_dtype_and_zeros() -> None:
    assert shift_channels(rows(1, 2, 3, 4).half(), rows(2, 2, 3), 1).dtype is torch.float16
    assert not shift_channels(torch.zeros(1, 3, 4), torch.zeros(1, 3), 1).any()


def test_towards_and_away() -> None:
    means, target = rows(3, 4, 6), rows(4, 6)
    assert torch.allclose(means + target_shift(means, target, 1.0), target.expand(4, 6))
    before = (means - target).norm(dim=1)
    assert ((means + target_shift(means, target, -0.5) - target).norm(dim=1) > before).all()


def test_apart_dilates_about_the_mean() -> None:
    means = rows(5, 4, 6)
    moved = means + dilation_shift(means, 0.5)
    assert torch.allclose(moved.mean(0), means.mean(0), atol=1e-6)
    assert torch.allclose(torch.pdist(moved), 1.5 * torch.pdist(means), atol=1e-5)
    assert not dilation_shift(means[:1], 0.5).any()


def test_few_rows_stand_for_many() -> None:
    values = rows(10, 9, 4) @ torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.1]))
    every = principal_rows(values, 32)
    assert every.shape == (4, 4)
    assert torch.allclose(every.T @ every, values.T @ values, atol=1e-4)
    assert torch.allclose(principal_rows(values, 2), every[:2])
    assert principal_rows(torch.zeros(3, 4), 2).shape == (0, 4)
    assert principal_rows(torch.zeros(0, 4), 2).shape == (0, 4)


def test_joint_rows_are_the_same_mixtures_in_every_layer() -> None:
    """Layers that hold one quantity in other units hold the same rows, in the same order, in those units."""
    values = rows(10, 9, 4) @ torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.1]))
    turn = torch.linalg.qr(rows(11, 4, 4))[0]
    every = joint_principal_rows({"a": values, "b": 100 * values @ turn}, 32)
    assert every["a"].shape == (4, 4)
    for name, layer in (("a", values), ("b", 100 * values @ turn)):
        assert torch.allclose(every[name].T @ every[name], layer.T @ layer, rtol=1e-4, atol=1e-3)
    assert torch.allclose(100 * every["a"] @ turn, every["b"], atol=1e-3)
    fewer = joint_principal_rows({"a": values, "b": 100 * values @ turn}, 2)
    assert torch.equal(fewer["b"], every["b"][:2])
    assert (every["a"].norm(dim=1).diff() < 0).all()


def test_joint_rows_of_layers_that_differ() -> None:
    """One layer does not tell items apart that the other does: still the second moments of both are kept."""
    one, two = rows(12, 3, 5), torch.zeros(3, 2)
    two[0], two[1] = 1.0, -1.0
    kept = joint_principal_rows({"one": one, "two": two}, 32)
    assert [len(value) for value in kept.values()] == [3, 3]
    assert torch.allclose(kept["two"].T @ kept["two"], two.T @ two, atol=1e-5)
    assert torch.allclose(kept["one"].T @ kept["one"], one.T @ one, atol=1e-5)


def test_the_signs_of_joint_rows_do_not_hang_on_rounding() -> None:
    pair = torch.tensor([[1.0, 2.0], [-1.0, -2.0]])
    for nudge in (-1e-6, 1e-6):
        moved = pair * torch.tensor([[1 + nudge], [1 - nudge]])
        assert torch.allclose(joint_principal_rows({"a": moved}, 1)["a"], -(2**0.5) * pair[:1], atol=1e-4)


@pytest.mark.parametrize("count", [0, 3])
def test_joint_rows_of_nothing(count: int) -> None:
    kept = joint_principal_rows({"a": torch.zeros(count, 4), "b": torch.zeros(count, 2)}, 2)
    assert kept["a"].shape == (0, 4)
    assert kept["b"].shape == (0, 2)


def test_what_a_group_shares_is_its_difference_without_its_variation() -> None:
    """Members that differ along the first axis: the more sure of it one is, the less of it is in the direction."""
    difference, variation = torch.tensor([3.0, 4.0, 0.0]), torch.tensor([[2.0, 0.0, 0.0]])
    assert torch.allclose(shared_direction(difference, variation[:0], 1.0), difference / 5)
    assert torch.allclose(shared_direction(difference, 0 * variation, 1.0), difference / 5)
    expected = torch.linalg.solve(torch.eye(3) + variation.T @ variation / (0.5 * 4), difference)
    assert torch.allclose(shared_direction(difference, variation, 0.5), expected / expected.norm())
    assert shared_direction(difference, variation, 1e-6)[0].item() == pytest.approx(0, abs=1e-5)
    assert shared_direction(difference, variation, 1e6)[0].item() == pytest.approx(0.6, abs=1e-5)
    assert not shared_direction(0 * difference, variation, 1.0).any()


def test_between_levels_features_are_linear_in_the_logarithm() -> None:
    levels, values = torch.tensor([1.0, 0.1, 0.01]), rows(6, 3, 2)
    assert torch.equal(interpolate(levels, values, 5.0), values[0])
    assert torch.equal(interpolate(levels, values, 0.0), values[2])
    assert torch.allclose(interpolate(levels, values, 0.1), values[1])
    halfway = interpolate(levels, values, 10**-1.5)
    assert torch.allclose(halfway, (values[1] + values[2]) / 2, atol=1e-5)


def test_separations_are_in_units_of_the_spread() -> None:
    """Two groups 3 apart in each of 4 channels whose spread is 1: squared distance 36 / 4 = 9."""
    means = torch.tensor([[[0.0] * 4], [[3.0] * 4]])
    squared = squared_separations([means], [torch.ones(2, 1, 4)])
    assert squared[0, 1].item() == pytest.approx(9)
    scaled = squared_separations([10 * means], [10 * torch.ones(2, 1, 4)])
    assert torch.allclose(squared, scaled)


def test_single_images_have_a_map_too() -> None:
    squared = squared_separations([rows(7, 3, 2, 5)], [torch.zeros(3, 2, 5)])
    assert squared.isfinite().all()
    assert (squared[~torch.eye(3, dtype=torch.bool)] > 0).all()


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_scaling_gives_back_the_distances(count: int) -> None:
    points = rows(8, count, 12).double()
    squared = torch.cdist(points, points).square()
    coordinates, shares = classical_scaling(squared)
    assert coordinates.shape == (count, count - 1)
    assert torch.allclose(torch.cdist(coordinates, coordinates).square(), squared, atol=1e-8)
    if count > 1:
        assert math.isclose(float(shares.sum()), 1.0)
        assert (shares.diff() <= 1e-12).all()


def test_points_on_a_line_need_one_axis() -> None:
    points = torch.linspace(0, 1, 5, dtype=torch.float64)[:, None] * rows(9, 1, 8).double()
    _, shares = classical_scaling(torch.cdist(points, points).square())
    assert shares[0].item() == pytest.approx(1)
