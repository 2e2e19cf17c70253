"""How near images are to protected ones: against brute force, in sentences, drawn, and with bad input."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diversity_guidance.guidance.repellency.protected_distances import features_near, latents_near
from diversity_guidance.guidance.repellency.protection_record import (
    NearestHit,
    NearestReference,
    ProtectionRecord,
    SampleProtection,
)
from diversity_guidance.metrics.figures.protected_chart import protected_chart
from diversity_guidance.metrics.measures.protected import GUIDANCE, ProtectedReport
from diversity_guidance.metrics.measures.protected import recorded as recorded_report
from diversity_guidance.metrics.serialise import to_plain
from diversity_guidance.stores.protected.builder import IndexBuilder
from diversity_guidance.stores.protected.errors import IndexSpaceError, ProtectedIndexError
from diversity_guidance.stores.protected.index import ProtectedIndex
from diversity_guidance.stores.protected.spaces import feature_space, latent_space
from support.indexes import built
from torch import Tensor

SHAPE = (4, 3, 5)
STD = torch.tensor([0.2, 2.0, 3.0, 0.5]).view(-1, 1, 1)

MAPS: dict[str, Callable[[Tensor], Tensor]] = {
    "one scale": lambda raw: (raw - 0.0609) * 1.5305,
    "a scale for each channel": lambda raw: (raw - 0.1) / STD,
}


def noise(count: int, seed: int = 0) -> Tensor:
    return torch.randn((count, *SHAPE), generator=torch.Generator().manual_seed(seed)).half().float()


def emptied(folder: Path) -> ProtectedIndex:
    built(folder, noise(1), latent_space("SD3"))
    with IndexBuilder.opened(folder) as builder:
        builder.remove([0])
        builder.finish()
    return ProtectedIndex.open(folder)


@pytest.mark.parametrize("name", MAPS)
def test_what_is_inside_is_told_exactly_in_the_units_of_the_model(tmp_path: Path, name: str) -> None:
    to_model_space, protected, drawn = MAPS[name], noise(300), noise(12, seed=1)
    index = built(tmp_path / "index", protected, latent_space("SD3"))
    points, shields = (to_model_space(raw).double().flatten(1) for raw in (drawn, protected))
    nearest, numbers = torch.cdist(points, shields).min(1)
    radius = float(nearest.median())
    found = latents_near(index, [drawn[:5], drawn[5:]], to_model_space, radius)
    assert [near.image for near in found] == list(range(12))
    assert [near.inside for near in found] == (nearest < radius).tolist()
    for near, distance, number in zip(found, nearest.tolist(), numbers.tolist(), strict=True):
        # Farther away than the radius, channels that are scaled unlike may hide a nearer one.
        if near.inside or name == "one scale":
            assert (near.protected, near.distance) == (f"{number}.png", pytest.approx(distance, rel=1e-5))
        assert near.distance >= distance * (1 - 1e-5)


def test_what_storing_in_half_precision_moved_inside_is_not_called_inside(tmp_path: Path) -> None:
    protected = 30 + noise(1)
    index = built(tmp_path / "index", protected, latent_space("SD3"))
    drawn = (protected + 0.5).half()
    distance = float(torch.dist(drawn.float(), protected.half().float()))
    for dtype, inside in ((torch.float32, True), (torch.float16, False)):
        (near,) = latents_near(index, [drawn.to(dtype)], lambda raw: raw, distance * 1.001)
        assert (near.inside, near.distance) == (inside, pytest.approx(distance))


def test_features(tmp_path: Path) -> None:
    rows = torch.nn.functional.normalize(torch.randn(20, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    index = built(tmp_path / "index", rows, feature_space("toy"))
    drawn = torch.cat([rows[3:4], -rows[:1], torch.full((1, 8), torch.nan)])
    same, other, nothing = features_near(index, drawn, 0.1)
    assert (same.protected, same.inside) == ("3.png", True) and same.distance < 1e-3
    assert not other.inside and other.distance == pytest.approx(float(torch.cdist(drawn[1:2], rows).min()), abs=1e-3)
    assert nothing == NearestReference(2, "", math.inf, inside=False)


def test_without_a_radius_nothing_is_called_inside(tmp_path: Path) -> None:
    index = built(tmp_path / "index", noise(3), latent_space("SD3"))
    found = latents_near(index, [noise(3)], MAPS["one scale"], 0.0)
    assert [near.protected for near in found] == ["0.png", "1.png", "2.png"]
    assert not any(near.inside for near in found)


def test_bad_input(tmp_path: Path) -> None:
    index = built(tmp_path / "small", noise(3), latent_space("SD3"))
    with pytest.raises(IndexSpaceError, match=r"small holds latents of 4 x 3 x 5 and these samples are of 4 x 3 x 6"):
        latents_near(index, [torch.zeros(1, 4, 3, 6)], MAPS["one scale"], 1.0)
    with pytest.raises(IndexSpaceError, match="latent format mixes values"):
        latents_near(index, [noise(1)], lambda raw: raw.flip(1) * 2, 1.0)
    with pytest.raises(IndexSpaceError, match="must come from the same space"):
        features_near(index, torch.zeros(1, 8), 1.0)
    for attempt in (
        lambda: latents_near(emptied(tmp_path / "empty"), [noise(1)], MAPS["one scale"], 1.0),
        lambda: features_near(ProtectedIndex.open(tmp_path / "empty"), torch.zeros(1, 60), 1.0),
    ):
        with pytest.raises(ProtectedIndexError, match="empty is empty: it protects nothing"):
            attempt()


def near(image: int, distance: float, *, inside: bool = False) -> NearestReference:
    return NearestReference(image, f"{image}.png" if math.isfinite(distance) else "", distance, inside)


OUTSIDE = (near(0, 3.0), near(1, 2.5), near(2, math.inf))
INSIDE = (near(0, 1.25, inside=True), near(1, 2.5), near(2, 0.5, inside=True))


def test_sentences() -> None:
    after, before = ProtectedReport("mine", 1200, 2.0, OUTSIDE, INSIDE).sentences()
    assert after == (
        "1,200 images are protected, in mine, radius 2: each of the 2 images that were compared is outside every "
        "shield, nearest is image 1 (2.5 from 1.png). 1 of 3 could not be compared: they hold no numbers, "
        "or a mask lets nothing change."
    )
    assert before == (
        "Of the images before: 2 of 3 images are NOT outside every shield: image 0 (1.25 from 0.png), image 2 "
        "(0.5 from 2.png)."
    )
    assert ProtectedReport("mine", 5, 0.0, OUTSIDE[:2]).sentences() == [
        "5 images are protected, in mine: nearest is image 1 (2.5 from 1.png)."
    ]
    many = tuple(near(number, 1.0, inside=True) for number in range(30))
    assert ProtectedReport("mine", 5, 2.0, many).sentences()[0].endswith("image 19 (1 from 19.png) and 10 more.")
    assert "there was nothing to compare" in ProtectedReport("mine", 5, 2.0, OUTSIDE[2:]).sentences()[0]


def test_every_image_is_listed() -> None:
    lines = ProtectedReport("mine", 5, 2.0, OUTSIDE, INSIDE).table().splitlines()
    assert lines[0] == "Nearest protected images (mine):"
    assert lines[1] == "  0 before  1.25  INSIDE  0.png"
    assert lines[5:] == ["  1  2.5  outside  1.png", "  2  inf  –"]
    assert len(lines) == 7
    assert "side" not in ProtectedReport("mine", 5, 0.0, OUTSIDE).table()


def test_what_guidance_recorded() -> None:
    images = (
        SampleProtection(0, NearestHit("a.png", 1.0), NearestHit("b.png", 2.0), outside=True, radius=2.0),
        SampleProtection(1, NearestHit("a.png", 4.0), NearestHit("a.png", 1.5), outside=False, radius=2.0),
        SampleProtection(2, NearestHit("", math.inf), NearestHit("", math.inf), outside=False, radius=0.0),
    )
    report = recorded_report(ProtectionRecord(7, images, ensured=False, searches=1, spared=1))
    assert (report.source, report.protected, report.radius) == (GUIDANCE, 7, 2.0)
    assert report.before == (
        NearestReference(0, "a.png", 1.0, inside=True),
        NearestReference(1, "a.png", 4.0, inside=False),
        near(2, math.inf),
    )
    assert report.images == (
        NearestReference(0, "b.png", 2.0, inside=False),
        NearestReference(1, "a.png", 1.5, inside=True),
        near(2, math.inf),
    )


def test_it_is_strict_json() -> None:
    text = json.dumps(to_plain(ProtectedReport("mine", 5, 2.0, OUTSIDE)), allow_nan=False)
    assert json.loads(text)["images"][2] == {"image": 2, "protected": "", "distance": "inf", "inside": False}


@pytest.mark.parametrize("radius", [0.0, 100.0])
@pytest.mark.parametrize("before", [(), INSIDE])
@pytest.mark.parametrize("images", [OUTSIDE, OUTSIDE[2:], tuple(near(number, 0.0) for number in range(100))])
def test_the_chart(images: tuple[NearestReference, ...], before: tuple[NearestReference, ...], radius: float) -> None:
    drawn = protected_chart(ProtectedReport("mine", 5, radius, images, before), 400)
    assert drawn.width == 400
    blank = protected_chart(ProtectedReport("mine", 5, radius, (), ()), 400)
    assert drawn.tobytes() != blank.tobytes() or images == OUTSIDE[2:]
