"""The benchmark of the Diversity Report: sets of known diversity, growth with n, and folders to measure."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diversity_guidance.benchmarks.report.golden import ATTRIBUTES, golden_sets
from diversity_guidance.benchmarks.report.growth import SCORES, growth
from diversity_guidance.benchmarks.report.speed import make_folder, measured_speed
from diversity_guidance.embedded.reals import Label
from diversity_guidance.metrics.report import measure
from PIL import Image

LABELS = [
    Label(concept, gender, skin, vendor, "people")
    for concept in ("cook", "judge")
    for gender in ("man", "woman")
    for skin in ("light", "dark", "medium", "deep")
    for vendor in ("google", "twitter")
]


def features(*seen: str) -> torch.Tensor:
    """Rows that are equal where these attributes are, and orthogonal in part where they are not."""
    blocks = []
    for name in seen:
        values = sorted({getattr(label, name) for label in LABELS})
        blocks.append(torch.eye(len(values))[[values.index(getattr(label, name)) for label in LABELS]])
    rows = torch.cat([torch.ones(len(LABELS), 1), *blocks], 1)
    return rows / rows.norm(dim=1, keepdim=True)


def test_a_space_tells_sets_apart_by_what_it_sees() -> None:
    found = {golden.attribute: golden for golden in golden_sets(features("skin"), LABELS, sets=12)}
    assert found.keys() == set(ATTRIBUTES)
    assert found["skin"].told == 1 and list(found["skin"].alone) == [1, 2, 4]
    assert found["skin"].alone[1] == pytest.approx(1) and found["skin"].alone[4] > found["skin"].alone[2] > 1.2
    assert list(found["vendor"].alone) == [1, 2] and found["vendor"].alone[2] == pytest.approx(1)


def test_everything_else_is_equal_in_sets_of_one_attribute() -> None:
    found = {golden.attribute: golden for golden in golden_sets(features("skin", "gender"), LABELS, sets=12)}
    assert found["vendor"].alone[2] == pytest.approx(1), "only vendors differ, which this space does not see"
    assert found["gender"].alone[2] > 1.1


def test_scores_by_the_number_of_images() -> None:
    rows = torch.randn(40, 64, generator=torch.Generator().manual_seed(0))
    found = growth(rows / rows.norm(dim=1, keepdim=True), repeats=2)
    assert list(found) == [8, 16, 32]
    assert all(set(scores) == set(SCORES) for scores in found.values())
    assert found[8]["vendi_1"] < found[32]["vendi_1"]


def test_scores_are_those_of_the_report() -> None:
    rows = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
    rows = rows / rows.norm(dim=1, keepdim=True)
    whole = measure(rows, "toy", duplicate_distance=0)
    assert growth(rows, repeats=1)[16] == pytest.approx({name: whole[name].value for name in SCORES}, rel=1e-5)


def test_folders_are_made_and_measured(tmp_path: Path) -> None:
    make_folder(tmp_path / "few", 5, (96, 64), "jpg", different=2)
    files = sorted((tmp_path / "few").iterdir())
    assert len(files) == 5 and files[0].read_bytes() == files[2].read_bytes() != files[1].read_bytes()
    with Image.open(files[0]) as image:
        assert image.size == (96, 64)
    found = measured_speed(tmp_path / "few", "layout")
    assert found.images == 5 and 0 < found.comparing < found.seconds and found.peak > 2**20
