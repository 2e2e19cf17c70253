"""Near-duplicates by the images themselves: what is a copy, and what only shares its background."""

from __future__ import annotations

from functools import cache
from itertools import combinations

import pytest
import torch
from diversity_guidance.benchmarks.copies.alterations import ALTERATIONS
from diversity_guidance.benchmarks.copies.drawings import emoji_families, kinds
from diversity_guidance.benchmarks.copies.run import errors
from diversity_guidance.features.image_files import as_tensor
from diversity_guidance.features.random_network import RandomNetwork
from diversity_guidance.metrics.batch import batch_features
from diversity_guidance.metrics.copies import candidates, search, selection
from diversity_guidance.metrics.copies.search import copies, repeats
from diversity_guidance.metrics.copies.selection import NEAREST_ONLY, pairs_to_compare, without_copies
from diversity_guidance.metrics.copies.thumbnails import CopyThumbnails
from diversity_guidance.metrics.measures.pairs import Pair
from diversity_guidance.metrics.report import HARDLY_TOLD, measure
from PIL import Image

KINDS = ("strokes, sepia", "outlines, white on dark", "word, ink on white", "titles", "flats", "logos")


@cache
def drawn(count: int) -> dict[str, list[Image.Image]]:
    return kinds(count)


@pytest.mark.parametrize("name", [*KINDS, "emoji", "noise"])
def test_different_images_on_one_background_are_different(name: str) -> None:
    images = drawn(8)[name]
    assert copies(CopyThumbnails.of([as_tensor(image) for image in images])) == []


def test_emoji_of_one_family_may_be_different_too() -> None:
    images = [image for family in emoji_families(8) for image in family][:8]
    assert copies(CopyThumbnails.of([as_tensor(image) for image in images])) == []


@pytest.mark.parametrize("name", KINDS)
def test_altered_copies_are_copies(name: str) -> None:
    assert sum(errors(drawn(3)[name]).missed.values()) == 0


def test_the_damage_of_a_jpeg_is_forgiven_where_its_blocks_are_large() -> None:
    images = drawn(16)["emoji"]
    small = [ALTERATIONS["JPEG 50 at half size"](image) for image in images]
    found = repeats(*(CopyThumbnails.of([as_tensor(image) for image in each]) for each in (small, images)))
    assert {image.size for image in small} == {(32, 32)}
    assert [(pair.first, pair.second) for pair in found] == [(number, number) for number in range(16)]


def test_altered_copies_are_told_from_previews() -> None:
    found = [errors(drawn(3)[name], previews=True) for name in KINDS[::2]]
    assert [(each.called, sum(each.missed.values())) for each in found] == [(0, 0)] * len(found)


def test_pairs_of_one_family_alone_are_counted() -> None:
    image, other = drawn(8)["flats"][:2]
    found = errors([image, image, image, other], families=[0, 0, 1, 1])
    assert (found.pairs, found.called) == (2, 1)


def test_images_repeat_earlier_ones_and_not_one_another() -> None:
    first, second, third = (as_tensor(image) for image in drawn(3)["flats"])
    found = repeats(CopyThumbnails.of([first, third, first]), CopyThumbnails.of([second, first]))
    assert [(pair.first, pair.second) for pair in found] == [(0, 1), (2, 1)]


def test_features_that_hardly_tell_different_images_apart_are_named() -> None:
    """Sixteen words in sepia are as different as 1.0 to the random network, and none repeats another one."""
    words, flats = drawn(16)["word, sepia"], drawn(16)["flats"]
    for images, named in ((words, True), (words[:1] * 16, False), (words[:3], False), (flats, False)):
        pixels = [as_tensor(image) for image in images]
        found = measure(
            batch_features(pixels, RandomNetwork()),
            "random",
            duplicate_distance=0.1,
            thumbnails=CopyThumbnails.of(pixels),
        )
        assert (HARDLY_TOLD in found.notes) == named


def test_images_that_differ_for_want_of_looking_say_nothing_of_features() -> None:
    """With tolerance 0 nothing is compared: sixteen times one word is no fault of the features."""
    pixels = [as_tensor(image) for image in drawn(16)["word, sepia"][:1] * 16]
    features = batch_features(pixels, RandomNetwork())
    thumbnails = CopyThumbnails.of(pixels)
    found = measure(features, "random", duplicate_distance=0.1, thumbnails=thumbnails, copy_limit=0.0)
    assert HARDLY_TOLD not in found.notes


@pytest.mark.parametrize("space_distance", [0.0, 2.0])
def test_the_report_rejects_copies_whatever_the_feature_space(space_distance: float) -> None:
    first, second = drawn(8)["word, ink on white"][:2]
    images = [first, second, ALTERATIONS["JPEG 50 at half size"](first), ALTERATIONS["mirrored"](second)]
    features = torch.nn.functional.normalize(torch.ones(4, 3) + 0.01 * torch.eye(4, 3), dim=1)
    thumbnails = CopyThumbnails.of([as_tensor(image) for image in images])
    found = measure(features, "toy", duplicate_distance=space_distance, thumbnails=thumbnails)
    assert found.duplicates.kept == (0, 1)
    assert found.duplicates.rejected == (2, 3) and found.duplicates.duplicate_of == (0, 1)
    assert found.near_pairs == 2
    assert found["different_images"].parameters == {"residual": 0.7}
    spared = measure(features, "toy", duplicate_distance=space_distance, thumbnails=thumbnails, copy_limit=0.0)
    assert spared.duplicates.kept == (0, 1, 2, 3)


def test_an_image_that_is_not_finite_is_in_no_pair() -> None:
    image = as_tensor(drawn(8)["flats"][0])
    broken = image.clone()
    broken[0, 0, 0] = torch.nan
    assert [(pair.first, pair.second) for pair in copies(CopyThumbnails.of([image, broken, image]))] == [(0, 2)]


def test_equal_pixels_are_told_at_a_glance(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of copies takes no time, and images that differ are looked at closely."""
    image = as_tensor(drawn(8)["flats"][0])
    other = image.clone()
    other[:, :40, :40] = 1 - other[:, :40, :40]
    looked: list[torch.Tensor] = []

    def none_alike(_: CopyThumbnails, pairs: torch.Tensor, *__: object) -> tuple[torch.Tensor, torch.Tensor]:
        looked.append(pairs)
        return pairs[:0], pairs[:0]

    monkeypatch.setattr(search, "alike_pairs", none_alike)
    found = copies(CopyThumbnails.of([image, other, image]))
    assert [(pair.first, pair.second, pair.distance) for pair in found] == [(0, 2, 0.0)]
    assert torch.cat(looked).tolist() == [[0, 1], [1, 2]]


def test_tiles_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pair is looked at once however images are split, and has the residual that it has alone."""
    images = [*drawn(8)["flats"][:4], *(ALTERATIONS["mirrored"](image) for image in drawn(8)["flats"][:4])]
    thumbnails = CopyThumbnails.of([as_tensor(image) for image in images])
    whole = copies(thumbnails, 7.0)
    alone = [copies(thumbnails, 7.0, torch.tensor([pair])) for pair in combinations(range(8), 2)]
    assert [(pair.first, pair.second) for found in alone for pair in found] == [
        (pair.first, pair.second) for pair in whole
    ]
    assert len(whole) > 8
    monkeypatch.setattr(search, "_BLOCK", 3)
    monkeypatch.setattr(candidates, "_IMAGES", 2)
    monkeypatch.setattr(candidates, "_ROWS", 8)
    split = copies(thumbnails, 7.0)
    assert [(pair.first, pair.second) for pair in split] == [(pair.first, pair.second) for pair in whole]
    assert [pair.distance for pair in split] == pytest.approx([pair.distance for pair in whole], abs=1e-3)


def test_blank_images_are_copies_if_their_colours_are_alike() -> None:
    blanks = [torch.full((3, 9, 9), level) for level in (0.5, 0.52, 0.9)]
    thumbnails = CopyThumbnails.of([*blanks, as_tensor(drawn(8)["flats"][0])])
    assert [(pair.first, pair.second) for pair in copies(thumbnails)] == [(0, 1)]


def test_a_larger_limit_finds_more() -> None:
    thumbnails = CopyThumbnails.of([as_tensor(image) for image in drawn(8)["strokes, sepia"][:3]])
    assert copies(thumbnails) == []
    assert len(copies(thumbnails, 7.0)) == 3


def test_the_first_of_several_copies_is_kept() -> None:
    found = [Pair(0, 1, 0.3), Pair(1, 2, 0.1), Pair(0, 4, 0.5), Pair(3, 4, 0.2)]
    chosen = without_copies(5, found, 0.7)
    assert chosen.kept == (0, 2, 3)
    assert chosen.rejected == (1, 4) and chosen.duplicate_of == (0, 3)


def test_large_sets_are_compared_among_nearest_images_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "ALL_PAIRS", 5)
    features = torch.nn.functional.normalize(torch.randn(9, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    assert pairs_to_compare(features[:5]) is None
    pairs = pairs_to_compare(features)
    assert pairs is not None
    nearest = (features @ features.T).fill_diagonal_(-2).topk(4).indices
    wanted = {(min(i, j), max(i, j)) for i, found in enumerate(nearest.tolist()) for j in found}
    assert {(i, j) for i, j in pairs.tolist()} == wanted
    thumbnails = CopyThumbnails.of([torch.rand(3, 8, 8) for _ in range(9)])
    assert NEAREST_ONLY in measure(features, "toy", duplicate_distance=0.1, thumbnails=thumbnails).notes
