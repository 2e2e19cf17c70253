"""The retrieval benchmark: on models of known diversity the score tells the truth where others do not."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest
import torch
from diversity_guidance.benchmarks.irs.run import (
    as_markdown,
    balanced_sentence,
    draw_figure,
    imagenet_sentence,
    rejection_sentence,
    run,
    sample_rows,
    toy_rows,
)
from diversity_guidance.benchmarks.irs.toy import TRAIN_SIZE, Toy, balanced_half
from PIL import Image


def test_the_score_tracks_the_truth_where_coverage_does_not(tmp_path: Path) -> None:
    rows = list(toy_rows((1.0, 0.4)))
    for row in rows:
        assert row.score.value == pytest.approx(row.truth, abs=0.02)
        assert row.score.lower <= row.truth <= row.score.upper
    inter, intra = (row for row in rows if row.truth == 0.4)
    assert inter.frechet > 20 * intra.frechet
    assert intra.coverage[1] > 0.9 and inter.coverage[1] < 0.5
    assert as_markdown(rows).count("\n") == 5
    draw_figure(rows, tmp_path / "toy.png", 400)
    with Image.open(tmp_path / "toy.png") as figure:
        assert figure.width == 400


def test_one_neighbour_measures_the_number_of_samples() -> None:
    few, many = sample_rows((1.0,), (200, 2400))
    assert few.coverage < 0.4 and many.coverage > 0.9
    assert few.density > 1.3 and many.density > 1.3
    assert few.score.lower <= 1 <= few.score.upper and many.score.lower <= 1 <= many.score.upper


def test_losses_take_whole_classes_or_a_share_of_each() -> None:
    toy = Toy.create()
    classes = toy.learned(0.5, "inter-class") // 80
    assert classes.unique().tolist() == [0, 1, 2, 3, 4]
    assert (toy.learned(0.5, "intra-class") // 80).bincount().tolist() == [40] * 10
    assert len(toy.learned(0.0, "intra-class")) == 10


def test_the_balanced_half_has_the_moments_of_the_whole() -> None:
    corners, half = balanced_half(6)
    assert len(half) * 2 == len(corners) == 64
    part = corners[half]
    torch.testing.assert_close(corners.mean(0), part.mean(0))
    torch.testing.assert_close(corners.T.cov(correction=0), part.T.cov(correction=0))


def test_sentences_say_what_the_supplement_says() -> None:
    assert "samples: 48744 (published: 48744)" in imagenet_sentence()
    assert f"100 of {TRAIN_SIZE} images: Stop: after" in rejection_sentence()
    assert "not rejected" in rejection_sentence(learned=TRAIN_SIZE)
    assert "IRS_inf,a 0.5" in balanced_sentence(4000)


def test_run_prints_tables(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diversity_guidance.benchmarks.irs.run.toy_rows", lambda: iter(()))
    monkeypatch.setattr("diversity_guidance.benchmarks.irs.run.sample_rows", lambda: iter(()))
    assert run(Namespace(figure=None, scale=False)) == 0
    assert "k_min of ImageNet" in capsys.readouterr().out
