"""Figures: they come out at the size asked for, show what they should and survive sets that are hardly sets."""

from __future__ import annotations

import itertools
import sys

import pytest
import torch
from diversity_guidance.guidance.trace import (
    Contact,
    SampleRecord,
    StepRecord,
    Trace,
)
from diversity_guidance.metrics.figures.canvas import tile, to_pil
from diversity_guidance.metrics.figures.comparison import side_by_side
from diversity_guidance.metrics.figures.grid import image_grid, shown_in_grid
from diversity_guidance.metrics.figures.image_map import far_apart, image_map, principal_plane
from diversity_guidance.metrics.figures.irs_chart import irs_chart
from diversity_guidance.metrics.figures.repelled import repelled_from
from diversity_guidance.metrics.figures.similarity_map import cluster_order, similarity_map
from diversity_guidance.metrics.figures.spectrum_chart import spectrum_chart
from diversity_guidance.metrics.figures.trace_chart import trace_chart
from diversity_guidance.metrics.measures.pairs import near_duplicates
from diversity_guidance.metrics.measures.retrieval import measure_retrieval
from diversity_guidance.metrics.report import DiversityReport, measure
from PIL import Image, ImageChops


def unit_rows(count: int, seed: int = 0, dimension: int = 10) -> torch.Tensor:
    found = torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed))
    return found / found.norm(dim=1, keepdim=True)


def dots(count: int) -> list[Image.Image]:
    generator = torch.Generator().manual_seed(0)
    return to_pil(torch.rand(count, 3, 12, 9, generator=generator))


def report(features: torch.Tensor, space: str = "toy") -> DiversityReport:
    return measure(features, space, duplicate_distance=0.1)


def trace() -> Trace:
    contacts = (Contact("batch:1", 2.0), Contact("bank-entry", 3.0), Contact("unknown", 4.0))
    steps = [
        StepRecord(
            "shields", sigma, 1 - sigma, 5.0, (SampleRecord(0, sigma / 10, 2.0, contacts), SampleRecord(1, 0, 9))
        )
        for sigma in (1.0, 0.7, 0.4)
    ]
    return Trace(steps=steps)


def ink(image: Image.Image) -> int:
    """Pixels that are not paper."""
    difference = ImageChops.difference(image, Image.new("RGB", image.size, "white")).convert("L")
    return sum(difference.histogram()[16:])


@pytest.mark.parametrize("count", [0, 1, 2, 7, 80])
def test_every_figure_of_a_set_of_any_size(count: int) -> None:
    features, images = unit_rows(count), dots(count)
    found = report(features)
    for width in (256, 512):
        for figure in (
            image_grid(images, found.duplicates, width),
            similarity_map(features, width, images),
            image_map(features, images, range(count), ["a", "b"] * (count // 2) + ["a"] * (count % 2), width),
            spectrum_chart(found, width),
        ):
            assert abs(figure.width - width) <= 1
            assert figure.mode == "RGB"
            assert ink(figure)


def test_identical_and_featureless_images_can_be_drawn() -> None:
    for features in (unit_rows(1).expand(6, -1), torch.zeros(6, 4)):
        positions, share = principal_plane(features)
        assert positions.shape == (6, 2) and torch.isfinite(positions).all() and 0 <= share <= 1
        assert ink(image_map(features, dots(6), range(6)))
        assert ink(similarity_map(features))


def test_rejected_images_are_faded_and_struck_out() -> None:
    black = [Image.new("RGB", (8, 8), "black")] * 4
    plain = image_grid(black, near_duplicates(torch.eye(4), 0.1), 200)
    marked = image_grid(black, near_duplicates(torch.eye(4)[[0, 1, 2, 0]], 0.1), 200)
    place = (140, 175)
    assert plain.getpixel(place) == (0, 0, 0)
    assert marked.getpixel(place) != (0, 0, 0)


def test_a_large_grid_shows_near_duplicates_first() -> None:
    features = torch.eye(100)
    features[99] = features[97]
    duplicates = near_duplicates(features, 0.1)
    shown = shown_in_grid(100, duplicates)
    assert len(shown) == 64 and {97, 99} <= set(shown) and shown == sorted(shown)


def test_heat_map_puts_alike_images_together() -> None:
    kinds = torch.eye(3)[[0, 1, 2, 0, 1, 2, 0]]
    order = cluster_order(kinds @ kinds.T).tolist()
    found = [index % 3 for index in order]
    assert sorted(order) == list(range(7))
    assert sum(first != second for first, second in itertools.pairwise(found)) == 2


def test_the_plane_keeps_the_largest_differences() -> None:
    features = torch.zeros(4, 5)
    features[:, 1] = torch.tensor([0.0, 1.0, 2.0, 10.0])
    positions, share = principal_plane(features)
    assert share == pytest.approx(1)
    torch.testing.assert_close(positions[:, 0], torch.tensor([0.0, 0.1, 0.2, 1.0]))


def test_representatives_are_far_apart() -> None:
    features = torch.cat([unit_rows(1).expand(20, -1), torch.eye(10)])
    chosen = far_apart(features, 8)
    assert len(set(chosen)) == 8 and sum(index < 20 for index in chosen) == 1


def test_irs_chart_shows_real_images_beside_generated_ones() -> None:
    retrieval = measure_retrieval(torch.arange(60) % 30, 100)
    alone, both = irs_chart(retrieval), irs_chart(retrieval, measure_retrieval(torch.arange(60) % 50, 100))
    assert alone.size == both.size and ImageChops.difference(alone, both).getbbox()
    assert ink(irs_chart(measure_retrieval(torch.zeros(1, dtype=torch.int64), 1)))


def test_trace_charts() -> None:
    assert ImageChops.difference(trace_chart(trace()), trace_chart(Trace())).getbbox()


def test_repelled_from_finds_companions_and_thumbnails() -> None:
    images = dots(2)
    with_thumbnail = repelled_from(trace(), images, {"bank-entry": images[0]})
    without = repelled_from(trace(), images, {})
    assert with_thumbnail.size == without.size
    side = 512 // 6
    third = (3 * side, 0, 4 * side, without.height)
    assert ImageChops.difference(with_thumbnail, without).getbbox() is not None
    assert ImageChops.difference(with_thumbnail, without).crop(third).getbbox()
    companion = tile(images[1], side - side // 10)
    top = 2 * 16
    assert not ImageChops.difference(
        without.crop((2 * side, top, 2 * side + companion.width, top + companion.height)), companion
    ).getbbox()


def test_side_by_side_compares_one_space_only() -> None:
    features = unit_rows(4)
    figure = side_by_side(("without", "with"), (dots(4), dots(4)), (report(features), report(features)), 400)
    assert figure.width == 400
    with pytest.raises(ValueError, match="cannot be compared"):
        side_by_side(("a", "b"), (dots(4), dots(4)), (report(features), report(features, "other")))


def test_images_become_images_whatever_they_hold() -> None:
    broken = torch.full((1, 3, 2, 2), torch.nan)
    grey = torch.full((1, 1, 2, 2), 1.5)
    assert to_pil(broken)[0].getpixel((0, 0)) == (0, 0, 0)
    assert to_pil(grey)[0].getpixel((0, 0)) == (255, 255, 255)


def test_missing_matplotlib_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ValueError, match="pip install matplotlib"):
        trace_chart(Trace())
