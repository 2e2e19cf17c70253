"""Out of overlapping shields: what is reported as cleared is checked by brute force in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from diversity_guidance.kernels.repellency import ProjectionResult, project_outside
from diversity_guidance.kernels.shields import projection
from diversity_guidance.kernels.shields.field import squared_norms, working_points
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

HALVES = (torch.float16, torch.bfloat16)
DTYPES = (*HALVES, torch.float32, torch.float64)


def normal(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.as_tensor(np.random.default_rng(seed).standard_normal(shape)).to(dtype)


def pairs_inside(estimates: Tensor, references: Tensor, radius: float, in_batch: bool) -> dict[tuple[int, int], float]:
    """Every pair (estimate, reference or member) that is inside, and its distance, from differences in float64."""
    points = estimates.double().flatten(1)
    centres = torch.cat([references.double().flatten(1), points]) if in_batch else references.double().flatten(1)
    distances = (points[:, None] - centres).norm(dim=2)
    if in_batch:
        distances[:, len(references) :].fill_diagonal_(math.inf)
    rows, columns = (distances < radius).nonzero(as_tuple=True)
    return {
        (row, column): float(distances[row, column])
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
    }


def reported(result: ProjectionResult) -> dict[tuple[int, int], float]:
    found = result.violations
    return {
        (row, column): distance
        for row, column, distance in zip(
            found.rows.tolist(), found.references.tolist(), found.distances.tolist(), strict=True
        )
    }


def pushed_once(*given: Any, **named: Any) -> ProjectionResult:
    """The projection without rays: only the sum of pushes, which leaves some estimates inside."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(projection, "_escape", lambda point, shields: point)
        return project_outside(*given, **named)


def check_move(before: Tensor, result: ProjectionResult) -> None:
    moved = (result.estimates.double() - before.double()).flatten(1).norm(dim=1)
    torch.testing.assert_close(result.moved.double(), moved, rtol=1e-4, atol=1e-5 * float(before.abs().max()))


class TestSuccess:
    """Success means outside, in the dtype that is returned."""

    @settings(max_examples=150)
    @given(
        seed=st.integers(0, 2**31),
        batch=st.integers(1, 5),
        count=st.integers(0, 20),
        dimension=st.integers(2, 24),
        share=st.floats(0.1, 2.5),
        dtype=st.sampled_from(DTYPES),
        in_batch=st.booleans(),
    )
    def test_brute_force_agrees(
        self, seed: int, batch: int, count: int, dimension: int, share: float, dtype: torch.dtype, in_batch: bool
    ) -> None:
        x, z = normal(seed, batch, dimension, dtype=dtype), normal(seed + 1, count, dimension, dtype=dtype)
        radius = share * math.sqrt(2 * dimension)
        result = project_outside(x, z, radius, batch_radius=radius if in_batch else None)
        assert result.estimates.dtype == dtype and result.estimates.shape == x.shape
        assert result.cleared
        assert not pairs_inside(result.estimates, z, radius, in_batch)
        check_move(x, result)

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("in_batch", [False, True])
    def test_latents_with_dense_shields(self, dtype: torch.dtype, in_batch: bool) -> None:
        x, z = normal(0, 4, 4, 16, 16, dtype=dtype), normal(1, 60, 4, 16, 16, dtype=torch.float16)
        radius = 1.02 * math.sqrt(2 * 1024)
        assert pairs_inside(x, z, radius, in_batch)
        result = project_outside(x, z, radius, batch_radius=radius if in_batch else None)
        assert result.cleared
        assert not pairs_inside(result.estimates, z, radius, in_batch)

    def test_where_the_sum_of_pushes_stalls(self) -> None:
        z = torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
        for point in ((0.0, 0.1), (0.2, 0.0), (0.0, 0.0), (1.0, 0.0)):
            result = project_outside(torch.tensor([point], dtype=torch.float64), z, 2.0)
            assert result.cleared
            assert float((result.estimates - z).norm(dim=1).min()) >= 2
            assert float(result.moved) < 3.5

    def test_between_two_shields_the_short_way_is_across(self) -> None:
        z = torch.zeros(2, 64, dtype=torch.float64)
        z[0, 0], z[1, 0] = -1.0, 1.0
        result = project_outside(torch.zeros(1, 64, dtype=torch.float64), z, 1.1)
        assert result.cleared
        assert float(result.moved) == pytest.approx(math.sqrt(1.1**2 - 1), rel=1e-3)

    def test_a_single_shield_is_left_by_the_missing_distance(self) -> None:
        x, z = normal(0, 1, 64), normal(1, 1, 64)
        distance = float((x - z).norm())
        result = project_outside(x, z, 1.5 * distance)
        assert float(result.moved) == pytest.approx(0.5 * distance, rel=1e-3)

    def test_a_pair_shares_the_way(self) -> None:
        x = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
        result = project_outside(x, x[:0], 2.0, batch_radius=2.0)
        assert result.cleared
        torch.testing.assert_close(result.moved, torch.full((2,), 0.5, dtype=torch.float64), rtol=1e-3, atol=0)

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_a_batch_of_copies_of_a_reference(self, dtype: torch.dtype) -> None:
        z = normal(0, 1, 4, 8, 8, dtype=dtype)
        x = z.repeat(4, 1, 1, 1)
        result = project_outside(x, z.repeat(3, 1, 1, 1), 6.0, batch_radius=6.0)
        assert result.cleared
        assert not pairs_inside(result.estimates, z, 6.0, in_batch=True)
        again = project_outside(x, z.repeat(3, 1, 1, 1), 6.0, batch_radius=6.0)
        assert torch.equal(result.estimates, again.estimates)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @given(seed=st.integers(0, 2**31), dimension=st.sampled_from([3, 64, 4096]))
    def test_at_the_very_surface_float32_is_not_trusted(self, dtype: torch.dtype, seed: int, dimension: int) -> None:
        z = normal(seed, 1, dimension, dtype=dtype)
        x = z + 2 * torch.nn.functional.normalize(normal(seed + 1, 4, dimension, dtype=dtype))
        result = project_outside(x, z, 2.0)
        assert result.cleared
        assert not pairs_inside(result.estimates, z, 2.0, in_batch=False)

    def test_several_blocks_norms_and_transform(self) -> None:
        x, z = normal(0, 3, 64, dtype=torch.float32), normal(1, 40, 64, dtype=torch.float16)
        blocks = [z[:7], z[7:7], z[7:]]

        def transform(chunk: Tensor) -> Tensor:
            return (chunk - 0.1) * 1.5

        norms = squared_norms(blocks, x, transform)
        result = project_outside(x, blocks, 15.0, norms=norms, transform=transform)
        assert result.cleared
        assert not pairs_inside(result.estimates, transform(z.float()), 15.0, in_batch=False)


class TestNothingToDo:
    """Where nothing is inside the very same tensor returns."""

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_outside(self, dtype: torch.dtype) -> None:
        x, z = normal(0, 3, 16, dtype=dtype), normal(1, 5, 16, dtype=dtype) + 100
        result = project_outside(x, z, 2.0, batch_radius=2.0)
        assert result.estimates is x
        assert result.cleared
        assert result.moved.tolist() == [0, 0, 0]

    def test_no_references_and_radius_zero(self) -> None:
        x = normal(0, 3, 16)
        assert project_outside(x, [], 5.0).estimates is x
        assert project_outside(x, x, 0.0, batch_radius=0.0).estimates is x
        assert project_outside(x[:1], x[:0], 9.0, batch_radius=9.0).estimates is not None
        assert project_outside(x[:0], x, 9.0, batch_radius=9.0).cleared

    def test_inputs_are_never_written_to(self) -> None:
        x, z = normal(0, 4, 16, dtype=torch.float32), normal(1, 9, 16, dtype=torch.float32)
        x[1] = z[3]
        before = x.clone(), z.clone()
        project_outside(x, z, 7.0, batch_radius=7.0)
        assert torch.equal(x, before[0]) and torch.equal(z, before[1])

    def test_inference_mode_as_in_a_sampler(self) -> None:
        x, z = normal(0, 4, 16, dtype=torch.float32), normal(1, 9, 16, dtype=torch.float16)
        expected = project_outside(x, z, 7.0, batch_radius=7.0).estimates
        with torch.inference_mode():
            assert torch.equal(project_outside(x.clone(), z.clone(), 7.0, batch_radius=7.0).estimates, expected)


class TestNotSatisfied:
    """What is still inside is named exactly."""

    @given(
        seed=st.integers(0, 2**31),
        share=st.floats(0.3, 1.5),
        dtype=st.sampled_from(DTYPES),
        in_batch=st.booleans(),
    )
    def test_violations_are_exact(self, seed: int, share: float, dtype: torch.dtype, in_batch: bool) -> None:
        x, z = normal(seed, 3, 12, dtype=dtype), normal(seed + 1, 6, 12, dtype=dtype)
        radius = share * math.sqrt(24)
        result = pushed_once(x, z, radius, batch_radius=radius if in_batch else None)
        expected = pairs_inside(result.estimates, z, radius * (1 - 1e-6), in_batch)
        found = reported(result)
        assert expected.keys() <= found.keys()
        assert found.keys() <= pairs_inside(result.estimates, z, radius * (1 + 1e-6), in_batch).keys()
        for pair, distance in expected.items():
            assert found[pair] == pytest.approx(distance, rel=1e-5)
        assert result.cleared == (not found)

    def test_what_a_mask_holds_as_a_whole_is_compared_with_nothing(self) -> None:
        x = torch.zeros(2, 16)
        mask = torch.zeros(2, 16)
        mask[1] = 1
        result = project_outside(x, x[:1], 1.0, batch_radius=1.0, mask=mask)
        assert result.cleared and torch.equal(result.estimates[0], x[0])
        assert float(result.estimates[1].norm()) >= 1

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    def test_an_estimate_that_is_not_finite_spoils_no_other(self, bad: float) -> None:
        x, z = normal(0, 4, 16, dtype=torch.float32), normal(1, 9, 16, dtype=torch.float32)
        x[1, 5] = bad
        good = [0, 2, 3]
        result = project_outside(x, z, 7.0, batch_radius=7.0)
        assert result.estimates[good].isfinite().all()
        assert not pairs_inside(result.estimates[good], z, 7.0, in_batch=True)

    def test_each_pair_has_a_radius_of_its_own(self) -> None:
        x = torch.tensor([[0.5, -0.5], [1.0, 0.0], [1.0, -1.0], [2.0, 1.5]], dtype=torch.float64)
        pairs = torch.tensor([[0.0, 2.0, 1.5, 3.0], [2.0, 0.0, 1.5, 3.0], [1.5, 1.5, 0.0, 1.5], [3.0, 3.0, 1.5, 0.0]])
        result = pushed_once(x, x[:1] - 9, 0.5, batch_radius=pairs)
        inside = (torch.cdist(result.estimates, result.estimates) < pairs).nonzero().tolist()
        assert inside == [[0, 1], [1, 0], [1, 3], [3, 1]]
        # Members come after the one reference.
        assert set(reported(result)) == {(row, other + 1) for row, other in inside}


class TestMask:
    """Only what may change does, and distances ignore the rest."""

    @given(seed=st.integers(0, 2**31), share=st.floats(0.3, 1.5), coincident=st.booleans(), in_batch=st.booleans())
    def test_held_latents_stay(self, seed: int, share: float, coincident: bool, in_batch: bool) -> None:
        movable = (torch.arange(32) % 3 > 0).float()
        z = normal(seed + 1, 8, 32, dtype=torch.float32)
        x = normal(seed, 3, 32, dtype=torch.float32)
        if coincident:
            x[0] = z[2]
            x[2] = x[1]
        x *= movable
        radius = share * math.sqrt(2 * float(movable.sum()))
        result = project_outside(x, z, radius, batch_radius=radius if in_batch else None, mask=movable.expand(3, -1))
        assert not result.estimates[:, movable == 0].any()
        assert result.cleared
        assert not pairs_inside(result.estimates, z * movable, radius, in_batch)

    @given(
        seed=st.integers(0, 2**31), share=st.floats(0.3, 1.5), dtype=st.sampled_from(DTYPES), coincident=st.booleans()
    )
    def test_masks_and_radii_of_their_own(self, seed: int, share: float, dtype: torch.dtype, coincident: bool) -> None:
        mask = (torch.rand(4, 32, generator=torch.Generator().manual_seed(seed)) < 0.6).double()
        mask[3] = 0
        x, z = normal(seed, 4, 32, dtype=dtype), normal(seed + 1, 8, 32, dtype=dtype)
        if coincident:
            x[0], x[2] = z[2], x[1]
        x *= mask.to(dtype)
        common = mask @ mask.T / 32
        radius, pairs = (share * 8 * part.sqrt() for part in (mask.mean(1), common))
        result = project_outside(x, z, radius, batch_radius=pairs, mask=mask.to(working_points(x).dtype))
        moved = result.estimates.double()
        assert not (moved * (1 - mask)).any() and torch.equal(result.estimates[3], x[3])
        assert result.cleared
        for row in range(3):
            assert float(((moved[row] - z.double()) * mask[row]).norm(dim=1).min()) >= float(radius[row]) * (1 - 1e-9)
            for other in range(row + 1, 3):
                apart = ((moved[row] - moved[other]) * mask[row] * mask[other]).norm()
                assert float(apart) >= float(pairs[row, other]) * (1 - 1e-6)

    def test_a_ray_leaves_a_pairs_shield_only_by_what_both_may_change(self) -> None:
        """Sideways is the short way out of the reference's shield, and never leaves the partner's."""
        x = torch.tensor([[0.0, 0.0], [0.0, -0.3]], dtype=torch.float64)
        mask = torch.tensor([[1.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
        z, radius = torch.tensor([[0.0, 0.1]], dtype=torch.float64), torch.tensor([1.0, 0.0], dtype=torch.float64)
        result = project_outside(x, z, radius, batch_radius=1.5, mask=mask)
        assert result.cleared
        expected = torch.tensor([[0.0, 1.1], [0.0, -0.9]], dtype=torch.float64)
        torch.testing.assert_close(result.estimates, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("radius", [-1.0, math.nan, math.inf])
def test_a_radius_that_is_none(radius: float) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        project_outside(torch.zeros(2, 4), torch.zeros(2, 4), radius)


def test_references_of_another_size() -> None:
    with pytest.raises(ValueError, match="same latent space and image size"):
        project_outside(torch.zeros(2, 4), torch.zeros(2, 5), 1.0)
