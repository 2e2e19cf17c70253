"""Pushes out of shields: the equations in float64, their symmetries, and every input that a sampler can produce."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from diversity_guidance.kernels.repellency import batch_repellency, repellency
from diversity_guidance.kernels.shields.field import batch_field, shield_field, squared_norms
from diversity_guidance.kernels.shields.reference_blocks import CPU_CHUNK_ELEMENTS
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
shapes = st.tuples(st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 12), st.integers(1, 9))


def normal(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.as_tensor(np.random.default_rng(seed).standard_normal(shape)).to(dtype)


def published(points: Tensor, references: Tensor, radius: float) -> Tensor:
    """Equation 5 by broadcast differences in float64; coincident points are not pushed."""
    differences = points.double().flatten(1)[:, None] - references.double().flatten(1)
    distances = differences.norm(dim=2, keepdim=True)
    weights = (radius / distances - 1).clamp_min(0).nan_to_num(posinf=0)
    return (weights * differences).sum(1).view(points.shape)


def published_in_batch(points: Tensor, radius: float) -> Tensor:
    return torch.cat(
        [
            published(points[row : row + 1], torch.cat([points[:row], points[row + 1 :]]), radius)
            for row in range(len(points))
        ]
    )


def distances_to(points: Tensor, references: Tensor) -> Tensor:
    return torch.cdist(
        points.double().flatten(1), references.double().flatten(1), compute_mode="donot_use_mm_for_euclid_dist"
    )


class TestKnownValues:
    """Hand-made shields in the plane, and seeded points whose pushes were computed elsewhere."""

    X = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    Z = torch.tensor([[0.0, 0.0], [3.0, 0.0], [1.0, 1.5]], dtype=torch.float64)

    @pytest.mark.parametrize(("radius", "push"), [(1.0, (0.0, 0.0)), (2.0, (1.0, -0.5)), (3.0, (1.0, -1.5))])
    def test_three_shields(self, radius: float, push: tuple[float, float]) -> None:
        torch.testing.assert_close(repellency(self.X, self.Z, radius), torch.tensor([push], dtype=torch.float64))

    def test_sum_can_carry_closer_to_a_second_centre(self) -> None:
        moved = self.X + repellency(self.X, self.Z, 2.0)
        expected = torch.tensor([[2.0615528128, 1.1180339887, 2.2360679775]], dtype=torch.float64)
        torch.testing.assert_close(distances_to(moved, self.Z), expected, rtol=0, atol=1e-9)

    @pytest.mark.parametrize(
        ("point", "push", "distances"),
        [
            ((0.0, 0.1), (0.0, 0.1980148761), (1.0434812616, 1.0434812616)),
            ((0.2, 0.0), (-0.4, 0.0), (1.2, 0.8)),
        ],
    )
    def test_two_overlapping_shields_can_stall(
        self, point: tuple[float, float], push: tuple[float, float], distances: tuple[float, float]
    ) -> None:
        x = torch.tensor([point], dtype=torch.float64)
        z = torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
        delta = repellency(x, z, 2.0)
        torch.testing.assert_close(delta, torch.tensor([push], dtype=torch.float64), rtol=0, atol=1e-9)
        reached = distances_to(x + delta, z)
        expected = torch.tensor([(distances[1], distances[0])], dtype=torch.float64)
        torch.testing.assert_close(reached, expected, rtol=0, atol=1e-4)
        assert float(reached.max()) < 2

    @pytest.mark.parametrize(("strength", "distance"), [(1.0, 3.0), (0.5, 2.0), (1.6, 4.2)])
    def test_both_members_of_a_pair_move(self, strength: float, distance: float) -> None:
        pair = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
        moved = pair + strength * batch_repellency(pair, 2.0)
        assert float((moved[0] - moved[1]).norm()) == pytest.approx(distance, abs=1e-12)

    @pytest.fixture
    def seeded(self) -> tuple[Tensor, Tensor]:
        generator = np.random.default_rng(3)
        x, z = generator.standard_normal((3, 8)), generator.standard_normal((4, 8))
        return torch.as_tensor(x), torch.as_tensor(z)

    @pytest.mark.parametrize(
        ("radius", "in_batch", "norms", "total"),
        [
            (3.0, False, (0.0, 0.0, 1.2467674184), 1.0366631612),
            (3.0, True, (0.0, 0.0, 1.2467674184), 1.0366631612),
            (4.0, False, (0.0, 1.0891340369, 3.3646948245), 2.8506468260),
            (4.0, True, (0.0, 1.0891340369, 3.3646948245), 2.8506468260),
            (4.5, False, (0.0573516346, 2.3073709496, 4.5884112603), 3.8697670397),
            (4.5, True, (0.2845412722, 2.3073709496, 4.6278666297), 3.8697670397),
        ],
    )
    def test_seeded(
        self,
        seeded: tuple[Tensor, Tensor],
        radius: float,
        in_batch: bool,
        norms: tuple[float, ...],
        total: float,
    ) -> None:
        x, z = seeded
        delta = repellency(x, z, radius) + (batch_repellency(x, radius) if in_batch else 0)
        expected = torch.tensor(norms, dtype=torch.float64)
        torch.testing.assert_close(delta.norm(dim=1), expected, rtol=0, atol=1e-9)
        assert float(delta.sum()) == pytest.approx(total, abs=1e-9)

    def test_seeded_distances(self, seeded: tuple[Tensor, Tensor]) -> None:
        x, z = seeded
        among = batch_field(x, 10.0).contacts
        expected = {(0, 1): 6.6541559946, (0, 2): 4.2673714204, (1, 2): 4.7567968697}
        for row, other, distance in zip(
            among.rows.tolist(), among.references.tolist(), among.distances.tolist(), strict=True
        ):
            assert distance == pytest.approx(expected[min(row, other), max(row, other)], abs=1e-9)
        nearest = distances_to(x + repellency(x, z, 4.5), z).min(1).values
        wanted = torch.tensor([4.5, 5.3813628112, 6.2213988109], dtype=torch.float64)
        torch.testing.assert_close(nearest, wanted, rtol=0, atol=1e-9)


class TestEquations:
    """Both equations hold for random points of any number and dimension."""

    @given(shapes, st.floats(0, 6))
    def test_equation_5(self, shape: tuple[int, int, int, int], radius: float) -> None:
        seed, batch, count, dimension = shape
        x, z = normal(seed, batch, dimension), normal(seed + 1, count, dimension)
        torch.testing.assert_close(repellency(x, z, radius), published(x, z, radius), rtol=1e-9, atol=1e-9)

    @given(shapes, st.floats(0, 6))
    def test_equation_8(self, shape: tuple[int, int, int, int], radius: float) -> None:
        seed, batch, _, dimension = shape
        x = normal(seed, batch, dimension)
        delta = batch_repellency(x, radius)
        torch.testing.assert_close(delta, published_in_batch(x, radius), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(delta.sum(0), torch.zeros(dimension, dtype=torch.float64), rtol=0, atol=1e-9)

    def test_equation_8_with_a_radius_for_each_pair(self) -> None:
        x, radii = normal(0, 4, 6), torch.triu(normal(1, 4, 4).abs() + 2, 1)
        radii = radii + radii.T
        differences = x[:, None] - x
        weights = (radii / differences.norm(dim=2) - 1).fill_diagonal_(0).clamp_min(0)
        assert 0 < int((weights > 0).sum()) < 12
        expected = (weights[..., None] * differences).sum(1)
        torch.testing.assert_close(batch_field(x, radii).delta, expected, rtol=1e-9, atol=1e-9)

    @given(shapes)
    def test_one_shield_is_left_exactly_to_its_surface(self, shape: tuple[int, int, int, int]) -> None:
        seed, batch, _, dimension = shape
        x, z = normal(seed, batch, dimension), normal(seed + 1, 1, dimension)
        radius = 1.5 * float(distances_to(x, z).max())
        moved = distances_to(x + repellency(x, z, radius), z)
        torch.testing.assert_close(moved, torch.full_like(moved, radius), rtol=1e-9, atol=0)

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("stored", DTYPES)
    def test_any_dtype_in_and_the_same_out(self, dtype: torch.dtype, stored: torch.dtype) -> None:
        x, z = normal(0, 4, 4, 8, 8, dtype=dtype), normal(1, 30, 4, 8, 8, dtype=stored)
        radius = float(distances_to(x, z).median())
        delta = repellency(x, z, radius)
        assert delta.dtype == dtype and delta.shape == x.shape
        tolerance = {torch.float64: 1e-6, torch.float32: 1e-5}.get(dtype, 2 * torch.finfo(dtype).eps)
        expected = published(x, z, radius)
        torch.testing.assert_close(
            delta.double(), expected, rtol=tolerance, atol=tolerance * float(expected.abs().max())
        )
        among = batch_repellency(x, 30.0)
        assert among.dtype == dtype and among.shape == x.shape
        expected = published_in_batch(x, 30.0)
        torch.testing.assert_close(
            among.double(), expected, rtol=tolerance, atol=tolerance * float(expected.abs().max())
        )

    @pytest.mark.parametrize("distance", [1e-6, 1e-4, 1e-2, 1.0])
    def test_close_pairs_keep_their_digits_in_float32(self, distance: float) -> None:
        x = normal(0, 1, 4096, dtype=torch.float32)
        z = x + distance * torch.nn.functional.normalize(normal(1, 1, 4096, dtype=torch.float32))
        expected = published(x, z, 2.0)
        torch.testing.assert_close(repellency(x, z, 2.0).double(), expected, rtol=1e-4, atol=1e-5)
        assert float(shield_field(x, z, 2.0).nearest) == pytest.approx(float(distances_to(x, z)), rel=1e-5)

    def test_points_at_the_radius_are_not_inside(self) -> None:
        x = torch.zeros(1, 64)
        z = torch.zeros(3, 64)
        z[0, 0], z[1, 1], z[2, 2] = 3.0, math.nextafter(3.0, 0) - 1e-6, 3.0 + 1e-6
        field = shield_field(x, z, 3.0)
        assert field.contacts.references.tolist() == [1]
        assert batch_field(torch.cat([x, z[:1]]), 3.0).contacts.rows.tolist() == []

    def test_radius_zero_pushes_nobody(self) -> None:
        x = normal(0, 3, 16)
        assert not repellency(x, x, 0.0).any()
        assert not batch_repellency(x[[0, 0, 1]], 0.0).any()

    @pytest.mark.parametrize("size", [1e-12, 1e-6, 1e6, 1e12])
    def test_norms_of_any_size(self, size: float) -> None:
        x, z = normal(0, 3, 64), normal(1, 20, 64)
        radius = float(distances_to(x, z).median())
        expected = size * published(x, z, radius)
        delta = repellency((size * x).float(), (size * z).float(), size * radius)
        torch.testing.assert_close(delta.double(), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
        delta = batch_repellency((size * x).float(), size * radius)
        expected = size * published_in_batch(x, radius)
        torch.testing.assert_close(delta.double(), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


class TestSymmetries:
    """What must not matter does not."""

    @given(shapes, st.floats(0.5, 6), st.randoms(use_true_random=False))
    def test_order_of_references_and_batch(self, shape: tuple[int, int, int, int], radius: float, random) -> None:
        seed, batch, count, dimension = shape
        x, z = normal(seed, batch, dimension), normal(seed + 1, count, dimension)
        rows, columns = random.sample(range(batch), batch), random.sample(range(count), count)
        torch.testing.assert_close(repellency(x[rows], z[columns], radius), repellency(x, z, radius)[rows])
        torch.testing.assert_close(batch_repellency(x[rows], radius), batch_repellency(x, radius)[rows])

    @given(shapes, st.floats(0.5, 6))
    def test_rotation_and_translation(self, shape: tuple[int, int, int, int], radius: float) -> None:
        seed, batch, count, dimension = shape
        x, z = normal(seed, batch, dimension), normal(seed + 1, count, dimension)
        turn, shift = torch.linalg.qr(normal(seed + 2, dimension, dimension))[0], normal(seed + 3, dimension)
        delta = repellency(x @ turn + shift, z @ turn + shift, radius)
        torch.testing.assert_close(delta, repellency(x, z, radius) @ turn, rtol=1e-7, atol=1e-7)
        among = batch_repellency(x @ turn + shift, radius)
        torch.testing.assert_close(among, batch_repellency(x, radius) @ turn, rtol=1e-7, atol=1e-7)

    @given(shapes, st.data())
    def test_several_blocks_are_one(self, shape: tuple[int, int, int, int], data: st.DataObject) -> None:
        seed, batch, count, dimension = shape
        x, z = normal(seed, batch, dimension), normal(seed + 1, count, dimension)
        cuts = sorted(data.draw(st.lists(st.integers(0, count), max_size=3)))
        blocks = [z[start:stop] for start, stop in zip([0, *cuts], [*cuts, count], strict=True)]
        one, many = shield_field(x, z, 3.0), shield_field(x, blocks, 3.0)
        torch.testing.assert_close(many.delta, one.delta)
        assert many.nearest_index.tolist() == one.nearest_index.tolist()
        pairs = [
            sorted(zip(f.contacts.rows.tolist(), f.contacts.references.tolist(), strict=True)) for f in (one, many)
        ]
        assert pairs[0] == pairs[1]

    def test_duplicates_push_as_often_as_they_are_there(self) -> None:
        x, z = normal(0, 3, 16), normal(1, 1, 16)
        torch.testing.assert_close(repellency(x, z.repeat(5, 1), 9.0), 5 * repellency(x, z, 9.0))

    def test_blocks_of_mixed_dtypes_and_layouts(self) -> None:
        x = normal(0, 2, 4, 6, 6, dtype=torch.float32)
        z = normal(1, 9, 4, 6, 6, dtype=torch.float16)
        blocks = [z[:3].float(), z[3:6].contiguous(memory_format=torch.channels_last), z[6:].transpose(2, 3).flip(3)]
        whole = torch.cat([z[:6], blocks[2]])
        torch.testing.assert_close(repellency(x, blocks, 20.0), repellency(x, whole, 20.0))

    def test_reference_numbers_run_through_chunks_and_blocks(self) -> None:
        dimension = CPU_CHUNK_ELEMENTS // 4
        z = torch.zeros(11, dimension, dtype=torch.float16)
        z[torch.arange(11), torch.arange(11)] = 1000.0
        x = z[[9, 2]].float()
        x[:, 20] = 1.0
        field = shield_field(x, [z[:6], z[6:]], 2.0)
        assert field.nearest_index.tolist() == [9, 2]
        assert sorted(field.contacts.references.tolist()) == [2, 9]
        torch.testing.assert_close(field.nearest, torch.ones(2))

    def test_known_norms_change_nothing(self) -> None:
        x, z = normal(0, 3, 64, dtype=torch.float32), normal(1, 40, 64, dtype=torch.float16)
        norms = squared_norms(z, x)
        torch.testing.assert_close(norms, z.float().square().sum(1))
        with_norms, without = shield_field(x, z, 11.0, norms=norms), shield_field(x, z, 11.0)
        assert torch.equal(with_norms.delta, without.delta)

    def test_transform_maps_references_alone(self) -> None:
        x, z = normal(0, 3, 64), normal(1, 40, 64)

        def transform(chunk: Tensor) -> Tensor:
            return (chunk - 0.1) * 1.5

        field = shield_field(x, z, 14.0, norms=squared_norms(z, x, transform), transform=transform)
        torch.testing.assert_close(field.delta, published(x, transform(z), 14.0), rtol=1e-7, atol=1e-7)


class TestCoincidentPoints:
    """A point in the centre of a shield has no direction of its own: it is given one."""

    def test_a_reference_itself_is_left_to_the_surface(self) -> None:
        z = normal(0, 3, 256, dtype=torch.float32) * 100
        delta = repellency(z, z, 2.0)
        torch.testing.assert_close(delta.norm(dim=1), torch.full((3,), 2.0))
        assert torch.equal(delta, repellency(z, z, 2.0))

    def test_at_the_origin(self) -> None:
        delta = repellency(torch.zeros(2, 16), torch.zeros(1, 16), 2.0)
        torch.testing.assert_close(delta.norm(dim=1), torch.full((2,), 2.0))

    def test_members_of_a_batch_part_in_opposite_directions(self) -> None:
        x = normal(0, 1, 256, dtype=torch.float32).repeat(2, 1)
        delta = batch_repellency(x, 2.0)
        assert torch.equal(delta[0], -delta[1])
        torch.testing.assert_close(delta.norm(dim=1), torch.full((2,), 2.0))

    def test_a_batch_of_one_image_falls_apart(self) -> None:
        x = normal(0, 1, 256, dtype=torch.float32).repeat(8, 1)
        moved = x + 0.5 * batch_repellency(x, 2.0)
        apart = distances_to(moved, moved) + torch.eye(8) * 9
        assert float(apart.min()) > 1

    def test_directions_do_not_touch_the_global_random_state(self) -> None:
        state = torch.get_rng_state()
        batch_repellency(torch.zeros(3, 8), 1.0)
        assert torch.equal(state, torch.get_rng_state())


class TestUnusualInput:
    """Nothing, one, not a number, read-only."""

    def test_no_references(self) -> None:
        x = normal(0, 3, 16, dtype=torch.float16)
        for none in (x[:0], [], [x[:0], x[:0]]):
            assert not repellency(x, none, 5.0).any()
            field = shield_field(x.float(), none, 5.0)
            assert field.nearest.tolist() == [math.inf] * 3
            assert field.nearest_index.tolist() == [-1] * 3
            assert len(field.contacts) == 0

    def test_no_estimates(self) -> None:
        x = torch.empty(0, 4, 2, 2)
        assert repellency(x, torch.zeros(2, 4, 2, 2), 5.0).shape == x.shape
        assert batch_repellency(x, 5.0).shape == x.shape
        assert batch_field(x.flatten(1), 5.0).nearest.shape == (0,)

    def test_a_batch_of_one(self) -> None:
        field = batch_field(normal(0, 1, 16), 5.0)
        assert not field.delta.any()
        assert field.nearest.tolist() == [math.inf]
        assert field.nearest_index.tolist() == [-1]

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    def test_an_estimate_that_is_not_finite_spoils_no_other(self, bad: float) -> None:
        x, z = normal(0, 4, 16, dtype=torch.float32), normal(1, 9, 16, dtype=torch.float32)
        good = [0, 2, 3]
        broken = x.clone()
        broken[1, 5] = bad
        torch.testing.assert_close(repellency(broken, z, 7.0)[good], repellency(x, z, 7.0)[good])
        torch.testing.assert_close(batch_repellency(broken, 7.0)[good], batch_repellency(x[good], 7.0))
        assert shield_field(broken, z, 7.0).nearest[1] == math.inf
        among = batch_field(broken, 7.0)
        assert among.nearest[1] == math.inf
        assert 1 not in among.nearest_index.tolist() + among.contacts.rows.tolist()

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    def test_a_reference_that_is_not_finite_pushes_nobody(self, bad: float) -> None:
        x, z = normal(0, 4, 16, dtype=torch.float32), normal(1, 9, 16, dtype=torch.float32)
        broken = torch.cat([z[:4], torch.full((1, 16), bad), z[4:]])
        field = shield_field(x, broken, 7.0)
        torch.testing.assert_close(field.delta, shield_field(x, z, 7.0).delta)
        assert 4 not in field.nearest_index.tolist()

    def test_inputs_are_never_written_to(self) -> None:
        for dtype in (torch.float32, torch.float16):
            x, z = normal(0, 4, 16, dtype=dtype), normal(1, 9, 16, dtype=dtype)
            x[1] = z[3]
            x[2] = x[0]
            before = x.clone(), z.clone()
            repellency(x, z, 7.0)
            batch_repellency(x, 7.0)
            assert torch.equal(x, before[0]) and torch.equal(z, before[1])

    def test_inference_mode_as_in_a_sampler(self) -> None:
        x, z = normal(0, 4, 16, dtype=torch.float32), normal(1, 9, 16, dtype=torch.float16)
        x[1] = z[3]
        expected = repellency(x, z, 7.0), batch_repellency(x, 7.0)
        with torch.inference_mode():
            assert torch.equal(repellency(x.clone(), z.clone(), 7.0), expected[0])
            assert torch.equal(batch_repellency(x.clone(), 7.0), expected[1])

    @pytest.mark.parametrize("radius", [-1.0, math.nan, math.inf])
    def test_a_radius_that_is_none(self, radius: float) -> None:
        x = torch.zeros(2, 4)
        for call in (lambda: repellency(x, x, radius), lambda: batch_repellency(x, radius)):
            with pytest.raises(ValueError, match="at least 0"):
                call()

    def test_references_of_another_size(self) -> None:
        with pytest.raises(ValueError, match="same latent space and image size"):
            repellency(torch.zeros(2, 4, 8, 8), torch.zeros(3, 4, 8, 9), 1.0)
