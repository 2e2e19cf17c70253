"""The report of a batch in memory: features, figures on one sheet, and what changed since another batch."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from diversity_guidance.benchmarks.copies.alterations import ALTERATIONS
from diversity_guidance.benchmarks.copies.drawings import kinds
from diversity_guidance.features.image_files import as_tensor
from diversity_guidance.features.random_network import RandomNetwork
from diversity_guidance.guidance.trace import (
    Contact,
    SampleRecord,
    StepRecord,
    Trace,
)
from diversity_guidance.indexing.bank.previews import thumbnails
from diversity_guidance.kernels.vendi import vendi_score_features
from diversity_guidance.metrics.batch import THUMBNAIL_SIDE, Thumbnails, batch_features
from diversity_guidance.metrics.comparison import compare, compare_equally_many, sentences
from diversity_guidance.metrics.copies.search import LIMIT
from diversity_guidance.metrics.copies.thumbnails import CopyThumbnails
from diversity_guidance.metrics.figures.batch_figures import (
    GuidedRun,
    MeasuredBatch,
    batch_figures,
    number_rows,
    repeats_figure,
)
from diversity_guidance.metrics.figures.report_sheet import (
    SHEET_WIDTH,
    column_width,
    full_width,
    report_sheet,
    verdict_card,
)
from diversity_guidance.metrics.measures.bank_duplicates import bank_distances, bank_duplicates
from diversity_guidance.metrics.page import ReportFigure
from diversity_guidance.metrics.report import DiversityReport, measure
from PIL import Image
from torch import Tensor

SPACE = RandomNetwork()


def unit_rows(count: int, spread: float = 1.0, seed: int = 0) -> Tensor:
    """Directions around a common one."""
    rows = spread * torch.randn(count, 16, generator=torch.Generator().manual_seed(seed))
    rows[:, 0] += 4
    return rows / rows.norm(dim=1, keepdim=True)


def report(features: Tensor, space: str = "toy") -> DiversityReport:
    return measure(features, space, duplicate_distance=0.1)


def measured(images: Sequence[Tensor]) -> MeasuredBatch:
    features = batch_features(images, SPACE)
    return MeasuredBatch(Thumbnails(images), features, report(features, SPACE.tag))


def images(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(3, 20 + number, 16, generator=generator) for number in range(count)]


def test_features_are_those_of_each_image_alone() -> None:
    given = images(3)
    given[1][0, 0, 0] = torch.nan
    with_alpha = torch.cat([given[2], torch.full((1, 22, 16), torch.nan)])
    steps: list[int] = []
    found = batch_features([*given, with_alpha], SPACE, lambda: steps.append(1))
    assert found.isfinite().all(1).tolist() == [True, False, True, True]
    assert torch.equal(found[0], SPACE(given[0][None])[0])
    assert torch.equal(found[2], found[3])
    assert len(steps) == 4
    assert batch_features([], SPACE).shape == (0, SPACE.dimension)


def test_thumbnails_are_made_when_they_are_looked_at() -> None:
    thumbnails = Thumbnails(images(3))
    assert len(thumbnails) == len(thumbnails[:2]) + 1 == 3
    assert thumbnails[2].size == (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    assert np.array_equal(thumbnails[1:][0], thumbnails[1])


def test_a_verdict_says_more_or_less() -> None:
    narrow, wide = report(unit_rows(30, 0.02)), report(unit_rows(30))
    assert compare(narrow, wide).startswith("The images differ more than before: ")
    assert compare(wide, narrow).startswith("The images differ less than before: ")
    assert "and 30 of 30 are different images instead of 1 of 30." in compare(narrow, wide)
    assert "chance" not in compare(narrow, wide) + compare(wide, narrow)
    assert compare(wide, wide).startswith("The images differ as much as before: ")


@pytest.mark.parametrize("count", [2, 12])
def test_a_verdict_doubts_small_differences(count: int) -> None:
    assert "this may be chance" in compare(report(unit_rows(count)), report(unit_rows(count, seed=1)))


@pytest.mark.parametrize("count", [0, 1])
def test_a_verdict_needs_images(count: int) -> None:
    assert compare(report(unit_rows(count)), report(unit_rows(5))).startswith("Too few images to tell")


def test_a_verdict_is_on_one_feature_space() -> None:
    with pytest.raises(ValueError, match="Numbers of toy and of other cannot be compared"):
        compare(report(unit_rows(3)), report(unit_rows(3), "other"))


def test_the_verdict_comes_first() -> None:
    alone, compared = sentences(report(unit_rows(5))), sentences(report(unit_rows(5)), report(unit_rows(4)))
    assert len(alone) == 1
    assert compared[0].startswith("The images differ")
    assert compared[1:] == ["Before: " + sentences(report(unit_rows(4)))[0], "After: " + alone[0]]


def previews_of(pictures: list[Tensor]) -> CopyThumbnails:
    """As a bank keeps them: small."""
    return CopyThumbnails.of([thumbnails(image[None])[0].movedim(-1, 0).float() / 255 for image in pictures])


def test_both_sides_of_a_comparison_are_named() -> None:
    alike = report(unit_rows(1).repeat(2, 1))
    told = sentences(alike, alike, ["a.png", "b.png"], ["old a.png", "old b.png"])
    assert told[0].endswith("and 1 of 2 are different images, as before.")
    assert "old b.png repeats old a.png" in told[1] and ": b.png repeats a.png" in told[2]


def test_images_that_repeat_a_preview_are_named() -> None:
    drawings = [as_tensor(image) for image in kinds(6)["flats"]]
    broken = torch.full_like(drawings[0], torch.nan)
    altered = as_tensor(ALTERATIONS["JPEG 50 at half size"](kinds(6)["flats"][1]))
    batch = CopyThumbnails.of([drawings[4], broken, altered, drawings[5]])
    steps: list[int] = []
    told = bank_duplicates(batch, previews_of(drawings[:3]), 5, LIMIT, lambda: steps.append(1))
    assert told == (
        "1 of 3 images repeats one of 3 images of the bank almost exactly: image 2. 2 of 5 images of the bank were not "
        "compared: only those with a preview are, the newest 2,000 at most."
    )
    assert steps == [1]
    assert bank_duplicates(batch, previews_of(drawings[:1]), 1, LIMIT) == (
        "No image repeats one of 1 images of the bank almost exactly."
    )
    assert "tolerance is 0" in bank_duplicates(batch, previews_of(drawings[:3]), 3, 0.0)


def test_a_bank_without_previews_is_not_called_compared() -> None:
    batch = CopyThumbnails.of(images(2))
    assert bank_duplicates(batch, CopyThumbnails.of([]), 7, LIMIT).startswith("7 of 7 images of the bank were not comp")
    assert bank_duplicates(batch, CopyThumbnails.of([]), 0, LIMIT).startswith("The bank holds no images")


def test_distances_to_a_bank_are_those_of_features() -> None:
    remembered = unit_rows(9)
    features = torch.cat([unit_rows(2, seed=1), remembered[3:4], torch.full((1, 16), torch.nan)])
    told = bank_distances(features, torch.cat([7 * remembered, features[3:]]))
    distance = re.fullmatch(r"In features, image 2 is the closest to the bank, at distance (.*); the median .*", told)
    assert distance is not None and float(distance[1]) < 1e-3
    assert bank_distances(features[:0], remembered) == bank_distances(features, remembered[:0]) == ""


def test_the_numbers_of_both_batches_stand_side_by_side() -> None:
    after, before = measured(images(5)), measured(images(3))
    assert {len(row) for row in number_rows(after)} == {2}
    assert {len(row) for row in number_rows(after, before)} == {3}
    assert ("Images without near-duplicates among them", "3 of 3", "5 of 5") in number_rows(after, before)


def run_of(count: int) -> GuidedRun:
    contacts = (Contact("batch:1", 0.5), Contact("unknown", 0.7))
    steps = [StepRecord("spell", sigma, 1 - sigma, 1.0, (SampleRecord(0, 0.1, 0.5, contacts),)) for sigma in (1.0, 0.5)]
    return GuidedRun(Trace(steps), Thumbnails(images(count)), {})


def test_every_figure_fits_its_place() -> None:
    figures = list(batch_figures(measured(images(5)), measured(images(3)), run=run_of(5)))
    assert {figure.image.width for figure in figures if figure.wide} == {full_width()}
    assert {figure.image.width for figure in figures if not figure.wide} == {column_width()}
    titles = [figure.title for figure in figures]
    assert titles[:3] == ["Before and after", "Pushed apart", "What guidance did"]
    assert len(titles) == len(set(titles)) == 7


@pytest.mark.parametrize("count", [0, 1, 2])
def test_hardly_any_images_are_drawn_too(count: int) -> None:
    batch = measured(images(count))
    for before in (None, batch, measured(images(2))):
        figures = list(batch_figures(batch, before, run=run_of(count)))
        assert report_sheet(["One sentence."], number_rows(batch, before), figures).width == SHEET_WIDTH


def test_images_that_hold_no_numbers_are_drawn_too() -> None:
    batch = measured([torch.full((3, 8, 8), torch.nan)] * 2)
    assert [figure.title for figure in batch_figures(batch)] == ["The images"]
    assert len(list(batch_figures(measured(images(2)), batch))) == 4


def test_a_sheet_holds_every_figure_once_and_none_on_another() -> None:
    """Each figure is one colour, whose area must arrive whole."""
    colours = ["#ff0000", "#00ff00", "#0000ff", "#ffff00", "#ff00ff"]
    heights = [300, 50, 60, 70, 200]
    figures = [
        ReportFigure(Image.new("RGB", (full_width() if wide else column_width(), height), colour), "t", "c", wide=wide)
        for colour, height, wide in zip(colours, heights, [False, False, False, True, False], strict=True)
    ]
    page = np.asarray(report_sheet(["A headline.", "long " * 200], [("", "value"), ("number", "7")], figures))
    for figure, colour in zip(figures, colours, strict=True):
        values = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
        assert (page == values).all(2).sum() == figure.image.width * figure.image.height


def test_a_long_word_does_not_hang_the_sheet() -> None:
    assert report_sheet(["w" * 500, ""], [], []).width == SHEET_WIDTH


def test_batches_of_different_sizes_compare_among_equally_many() -> None:
    few, many = unit_rows(6), unit_rows(18, seed=1)
    told = compare_equally_many(few, torch.cat([many, torch.full((1, 16), torch.nan)]))
    assert told.startswith("There are 6 images before and 18 after: among 6 of each, chosen at random with seed 0, the")
    mean = sum(
        vendi_score_features(many[torch.randperm(18, generator=generator)[:6]])
        for generator in [torch.Generator().manual_seed(0)]
        for _ in range(16)
    )
    assert told.endswith(f"is {vendi_score_features(few):.3g} before and {mean / 16:.3g} after.")
    assert compare_equally_many(few, few) == ""


def test_which_images_repeat_which_is_shown_side_by_side() -> None:
    one, two, three = images(3)
    batch = measured([one, two, one, three, two, one])
    drawn = repeats_figure(batch, 400, rows=5)
    assert drawn is not None and drawn.image.width == 400
    shorter = repeats_figure(batch, 400, rows=1)
    assert shorter is not None and shorter.image.height < drawn.image.height
    assert "Which images repeat which" in [figure.title for figure in batch_figures(batch)]
    assert repeats_figure(measured([one, two]), 400, rows=5) is None


def test_a_card_is_as_wide_as_a_node() -> None:
    plain = Image.new("RGB", (full_width(512), 90))
    card = verdict_card("3 of 4 differ", "Image 2 repeats image 0.", plain, 512)
    assert card.width == 512 and card.height > plain.height + 60
