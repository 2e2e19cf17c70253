"""The search of a Protected Index against brute force in float64: no reference in a radius is ever missed."""

from __future__ import annotations

import math
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
import torch
from diversity_guidance.stores.protected.builder import IndexBuilder
from diversity_guidance.stores.protected.errors import IndexDamagedError, IndexSpaceError
from diversity_guidance.stores.protected.index import Hits, ProtectedIndex
from diversity_guidance.stores.protected.manifest import write_manifest
from diversity_guidance.stores.protected.search import neighbour_list, projection_filter
from diversity_guidance.stores.protected.search.filter_file import write_filter
from diversity_guidance.stores.protected.search.neighbour_list import NeighbourList
from hypothesis import given, settings
from hypothesis import strategies as st
from support.index_data import KINDS, build, exact_distances, queries, references
from torch import Tensor

RADII = ("tenth", "nearest", "at", "just beyond", "median", "all", "zero")


def radius_of(choice: str, distances: Tensor) -> float:
    """A radius for these distances; "at" and "just beyond" are those of a pair, to the last bit."""
    values = distances.flatten().sort().values
    some = float(values[len(values) // 3])
    return {
        "tenth": float(values[len(values) // 10]) * 1.01,
        "nearest": float(values[0]) * 0.99,
        "at": some,
        "just beyond": math.nextafter(some, math.inf),
        "median": float(values[len(values) // 2]) * 1.000001,
        "all": 2 * float(values[-1]) + 1,
        "zero": 0.0,
    }[choice]


def check(hits: Hits, distances: Tensor, radius: float, vectors: Tensor) -> None:
    """Everything inside, and nothing beyond what float32 can tell from the radius."""
    found = torch.zeros_like(distances, dtype=torch.bool)
    found[hits.rows, hits.references] = True
    assert len(hits) == int(found.sum())
    assert found[distances < radius].all(), "a reference inside the radius was missed"
    assert (distances[found] < radius * (1 + 3e-6)).all()
    torch.testing.assert_close(hits.distances.double(), distances[hits.rows, hits.references], rtol=1e-5, atol=1e-30)
    assert torch.equal(hits.numbers, hits.references.unique())
    assert torch.equal(hits.vectors, vectors[hits.numbers])


@settings(max_examples=120)
@given(
    kind=st.sampled_from(KINDS),
    count=st.sampled_from([1, 2, 7, 60, 400]),
    width=st.sampled_from([1, 2, 5, 33, 70]),
    choice=st.sampled_from(RADII),
    scanned=st.sampled_from([7, projection_filter.SCAN_ROWS]),
    seed=st.integers(0, 2**31),
)
def test_every_reference_in_the_radius_is_found(
    kind: str, count: int, width: int, choice: str, scanned: int, seed: int
) -> None:
    vectors = references(kind, count, width, seed)
    points = queries(vectors, 6, seed)
    distances = exact_distances(points, vectors)
    radius = radius_of(choice, distances)
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(projection_filter, "SCAN_ROWS", scanned):
        index = build(Path(folder), vectors)
        check(index.within(points, radius), distances, radius, vectors)
        k = min(3, count)
        nearest, numbers = index.nearest(points, k)
        torch.testing.assert_close(nearest.double(), distances.sort(1).values[:, :k], rtol=1e-5, atol=1e-30)
        torch.testing.assert_close(distances.gather(1, numbers), nearest.double(), rtol=1e-5, atol=1e-30)


@settings(max_examples=60)
@given(
    kind=st.sampled_from(KINDS),
    count=st.sampled_from([1, 30, 500]),
    width=st.sampled_from([2, 9, 40]),
    skin=st.sampled_from([0.0, 0.3, 3.0]),
    cache=st.sampled_from([1, 1 << 20]),
    seed=st.integers(0, 2**31),
)
def test_a_neighbour_list_gives_what_a_search_in_every_step_does(
    kind: str, count: int, width: int, skin: float, cache: int, seed: int
) -> None:
    vectors = references(kind, count, width, seed)
    rng = torch.Generator().manual_seed(seed)
    points = queries(vectors, 4, seed)
    scale = float(exact_distances(points, vectors).median()) + 1e-6
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(neighbour_list, "CACHE_BYTES", cache):
        index = build(Path(folder), vectors)
        listed = NeighbourList(index, skin)
        course = torch.randn(points.shape, generator=rng)
        for step in range(25):
            # Small steps in one direction and in any, now and then a large one, and a radius that changes.
            size = scale * (2.0 if step % 9 == 8 else 0.03)
            points = points + size * (course + torch.randn(points.shape, generator=rng)) / width**0.5
            radius = scale * (0.3, 0.6, 1.1)[step // 3 % 3]
            hits = listed.within(points, radius)
            check(hits, exact_distances(points, vectors), radius, vectors)
            again = index.within(points, radius)
            assert torch.equal(hits.rows, again.rows) and torch.equal(hits.references, again.references)
            assert torch.equal(hits.distances, again.distances) and torch.equal(hits.vectors, again.vectors)


def test_few_of_the_references_outside_are_read(tmp_path: Path) -> None:
    """A bound that let everything pass would find all, too."""
    rng = torch.Generator().manual_seed(0)
    vectors = (torch.randn(4000, 256, generator=rng) * 0.95 ** torch.arange(256)).half().float()
    index, points = build(tmp_path, vectors, shard_bytes=1 << 22), queries(vectors, 5, 0)[1::2]
    distances = exact_distances(points, vectors)
    radius = float(distances.flatten().quantile(0.001))
    with mock.patch.object(index, "_rows", wraps=index._rows) as rows:
        check(index.within(points, radius), distances, radius, vectors)
    assert sum(len(call.args[0]) for call in rows.read.call_args_list) < 0.01 * distances.numel()


@pytest.mark.parametrize("fault", ["other references", "not finite"])
def test_a_filter_of_a_stranger_is_not_trusted(tmp_path: Path, fault: str) -> None:
    index = build(tmp_path, references("normal", 20, 12, 0))
    assert index.filter is not None
    table = index.filter.table.copy()
    table[3, 1] = math.nan
    other = replace(index.filter, table=table if fault == "not finite" else table[:19])
    manifest = replace(index.manifest, filter=write_filter(tmp_path / "shards", other))
    with pytest.raises(IndexDamagedError, match=rf"\.filter .*{fault}"):
        ProtectedIndex(tmp_path, manifest)
    write_manifest(tmp_path, manifest)
    with pytest.raises(IndexDamagedError, match="build the index again"):
        ProtectedIndex.open(tmp_path)


def test_most_steps_of_a_calm_run_need_no_search(tmp_path: Path) -> None:
    vectors = references("normal", 3000, 32, 0)
    points = queries(vectors, 4, 1)
    index = build(tmp_path, vectors, shard_bytes=1 << 20)
    listed = NeighbourList(index)
    with mock.patch.object(index, "_rows", wraps=index._rows) as rows:
        for step in range(30):
            listed.within(points + 0.003 * step, 2.0)
        read = [number for call in rows.read.call_args_list for number in call.args[0].tolist()]
    assert listed.searched == 4 and listed.skipped == 29 * 4
    # What was read once is kept.
    assert len(read) == len(set(read)) < 300


def test_details_that_no_coordinate_holds_ask_for_no_search(tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    vectors = 0.05 * torch.randn(3000, 400, generator=rng)
    vectors[:, :8] += 5 * torch.randn(3000, 8, generator=rng)
    vectors = vectors.half().float()
    start, details = queries(vectors, 4, 1), torch.zeros(4, 400)
    details[:, 8:] = torch.randn(4, 392, generator=rng)
    details *= 6 / details.norm(dim=1, keepdim=True)
    listed = NeighbourList(build(tmp_path, vectors, shard_bytes=1 << 20))
    for step in range(12):
        # Each estimate stays as far from the plane of the references and turns about it: its coordinates stay.
        points = start + details * (-1) ** step
        check(listed.within(points, 6.5), exact_distances(points, vectors), 6.5, vectors)
    assert listed.searched == 4 and listed.skipped == 11 * 4


def test_estimates_that_are_changed_in_place_have_moved(tmp_path: Path) -> None:
    # So many values that few coordinates rule out little, and references are measured before any is inside.
    vectors = references("normal", 300, 400, 0)
    points = torch.randn(3, 400, generator=torch.Generator().manual_seed(1))
    start, radius = points.clone(), 0.6 * float(exact_distances(points, vectors).min())
    listed = NeighbourList(build(tmp_path, vectors))
    for share in torch.linspace(0, 1, 60).tolist():
        points.copy_((1 - share) * start + share * vectors[:3])
        check(listed.within(points, radius), exact_distances(points, vectors), radius, vectors)
    assert len(listed.within(points, radius)) >= 3


def test_a_batch_of_another_size_begins_anew(tmp_path: Path) -> None:
    vectors = references("normal", 300, 12, 0)
    listed = NeighbourList(build(tmp_path, vectors))
    for count in (4, 2, 5):
        points = queries(vectors, count, count)
        check(listed.within(points, 3.0), exact_distances(points, vectors), 3.0, vectors)


def test_an_estimate_that_is_not_finite_is_near_nothing_and_disturbs_no_other(tmp_path: Path) -> None:
    vectors = references("normal", 300, 12, 0)
    index = build(tmp_path, vectors)
    listed = NeighbourList(index)
    points = queries(vectors, 3, 0)
    for step in range(6):
        moved = points + 0.1 * step
        moved[1, 3] = (math.nan, math.inf, 0.5)[step % 3]
        for hits in (index.within(moved, 3.0), listed.within(moved, 3.0)):
            sound = hits.rows != 1
            expected = exact_distances(moved[[0, 2]], vectors) < 3.0
            assert int(expected.sum()) == int(sound.sum())
            assert (step % 3 == 2) or bool(sound.all())
    distances, numbers = index.nearest(torch.full((1, 12), math.nan))
    assert distances.isinf().all() and (numbers == -1).all()


@pytest.mark.parametrize("size", [1e13, 1e25, 3e38])
def test_estimates_beyond_what_products_can_hold(tmp_path: Path, size: float) -> None:
    vectors = references("normal", 50, 8, 0)
    index = build(tmp_path, vectors)
    far = torch.full((1, 8), size)
    assert len(index.within(far, 1.0)) == 0
    assert len(index.within(far, 1e39)) == 50
    assert len(NeighbourList(index).within(far, 1.0)) == 0
    assert float(index.nearest(far)[0]) == pytest.approx(size * 8**0.5, rel=1e-5) or size == 3e38


def test_an_index_of_nothing_protects_nothing(tmp_path: Path) -> None:
    with IndexBuilder(tmp_path, "latent:SD3", (2, 3)) as builder:
        builder.finish()
    index = ProtectedIndex.open(tmp_path)
    points = torch.zeros(2, 2, 3)
    assert (
        len(index) == 0 and len(index.within(points, 5.0)) == 0 and len(NeighbourList(index).within(points, 5.0)) == 0
    )
    assert index.sample(4).shape == (0, 2, 3) and index.vectors() == [] and index.verify() == []
    with pytest.raises(ValueError, match="an index that holds 0"):
        index.nearest(points)


def test_what_is_asked_must_fit(tmp_path: Path) -> None:
    index = build(tmp_path, references("normal", 10, 12, 0), shape=(3, 2, 2))
    for attempt in (index.within, NeighbourList(index).within):
        with pytest.raises(IndexSpaceError, match="same space and image size"):
            attempt(torch.zeros(1, 3, 2, 3), 1.0)
        for radius in (-1.0, math.nan):
            with pytest.raises(ValueError, match="radius"):
                attempt(torch.zeros(1, 3, 2, 2), radius)


def test_samples_names_and_blocks(tmp_path: Path) -> None:
    vectors = references("normal", 700, 12, 0)
    index = build(tmp_path, vectors, shape=(3, 2, 2))
    assert torch.equal(index.sample(7).flatten(1), vectors[::100])
    assert torch.equal(torch.cat(index.vectors()).float().flatten(1), vectors) and len(index.vectors()) > 2
    assert [index.name(number) for number in (0, 170, 699)] == ["0", "170", "699"]
    assert index.nbytes > 700 * 4 and len(index) == 700
