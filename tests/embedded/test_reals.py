"""Real pictures: packing, and which of them a prompt means."""

from __future__ import annotations

import pytest
import torch
from diversity_guidance.embedded.reals import COLUMNS, TILE, Label, Mode, RealImages, cut_atlas, unpack_labels
from diversity_guidance.embedded.training.reals import pack_labels, paint_atlas

LABELS = [
    Label("running", gender, skin, vendor, "people")
    for gender in ("man", "woman")
    for skin in ("default-skin", "dark-skin")
    for vendor in ("google", "twitter")
] + [
    Label("running facing right", "man", "dark-skin", "google", "people"),
    Label("cat face", "", "", "google", "animal"),
]


@pytest.fixture
def reals() -> RealImages:
    generator = torch.Generator().manual_seed(0)
    return RealImages(torch.randint(0, 256, (len(LABELS), 3, TILE, TILE), generator=generator).byte(), LABELS)


def test_labels_survive_packing() -> None:
    assert unpack_labels(pack_labels(LABELS)) == LABELS


@pytest.mark.parametrize("count", [1, COLUMNS, COLUMNS + 3])
def test_tiles_survive_the_atlas(count: int) -> None:
    pixels = torch.randint(0, 256, (count, 3, TILE, TILE), dtype=torch.uint8)
    atlas = paint_atlas(pixels)
    assert atlas.size == (COLUMNS * TILE, -(-count // COLUMNS) * TILE)
    assert torch.equal(cut_atlas(atlas, count), pixels)


def test_an_atlas_that_is_too_small_is_refused() -> None:
    atlas = paint_atlas(torch.zeros(3, 3, TILE, TILE, dtype=torch.uint8))
    with pytest.raises(ValueError, match="damaged"):
        cut_atlas(atlas, COLUMNS + 1)


def test_a_prompt_means_the_pictures_that_have_all_its_words(reals: RealImages) -> None:
    assert reals.matching("man running").tolist() == [0, 1, 2, 3, 8]
    assert reals.matching("running, dark skin tone, google").tolist() == [2, 6, 8]
    assert len(reals.matching("")) == len(LABELS)


def test_modes_are_what_a_prompt_leaves_open(reals: RealImages) -> None:
    assert reals.modes("google woman running") == [
        Mode("woman", "dark-skin", "google"),
        Mode("woman", "default-skin", "google"),
    ]
    assert reals.modes("cat") == [Mode("", "", "google")]


def test_words_that_never_occur_together_are_refused(reals: RealImages) -> None:
    with pytest.raises(ValueError, match="No real image"):
        reals.matching("woman cat")


def test_the_quality_limit_is_a_share_of_the_distance_between_concepts(reals: RealImages) -> None:
    first = reals.images(torch.tensor([0, 8, 9])).flatten(1)
    distances = [(first[i] - first[j]).square().mean().sqrt() for i, j in ((0, 1), (0, 2), (1, 2))]
    assert reals.quality_limit == pytest.approx(0.45 * float(torch.stack(distances).median()), rel=1e-5)
