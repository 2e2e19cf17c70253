"""The benchmark of methods against one another: its rows, its file, and what it says of attributes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch
from diversity_guidance.benchmarks.pareto import attributes, points
from diversity_guidance.benchmarks.pareto import run as pareto
from diversity_guidance.benchmarks.pareto.rows import Setting, _one_at_a_time, recommended, rows
from diversity_guidance.embedded.judge import Judge
from diversity_guidance.embedded.model import EmbeddedModel
from PIL import Image

FIXED = {"name", "model", "cfg", "steps", "modes", "fidelity", "rmse", "seconds"}


@pytest.fixture(scope="module")
def turbo() -> EmbeddedModel:
    return EmbeddedModel.load(turbo=True)


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("doctor\n", encoding="utf-8")
    return path


def arguments(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    pareto.add_arguments(parser)
    return parser.parse_args(given)


@pytest.mark.parametrize("distilled", [False, True])
def test_rows_have_names_of_their_own(distilled: bool) -> None:
    names = [row.name for row in rows(distilled)]
    assert names[:2] == ["none", "recommended"] and len({*names}) == len(names)


def test_what_was_measured_is_kept_and_drawn(prompts: Path, tmp_path: Path) -> None:
    output, drawing = tmp_path / "points.json", tmp_path / "points.png"
    given = ["--prompts", str(prompts), "--seeds", "1", "--count", "2", "--steps", "2", "--output", str(output)]
    assert pareto.run(arguments(*given, "--rows", "CFG 0", "--plot", str(drawing))) == 0
    points = json.loads(output.read_text(encoding="utf-8"))
    assert [point["name"] for point in points] == ["none", "recommended", "CFG 0 on the first step"]
    assert all(point.keys() >= FIXED and point["images"] == 2 for point in points)
    assert Image.open(drawing).width == 1400
    points[0]["modes"] = 77.0
    output.write_text(json.dumps(points), encoding="utf-8")
    assert pareto.run(arguments(*given, "--rows", "CFG 0")) == 0
    assert json.loads(output.read_text(encoding="utf-8")) == points


def test_a_target_is_compared_with_what_was_reached(prompts: Path, tmp_path: Path) -> None:
    output = tmp_path / "points.json"
    given = ["--prompts", str(prompts), "--seeds", "1", "--count", "2", "--steps", "2", "--output", str(output)]
    assert pareto.run(arguments(*given, "--rows", "target, 2")) == 0
    points = json.loads(output.read_text(encoding="utf-8"))
    assert [point["name"] for point in points] == ["none", "recommended", "target, 2"]
    assert all(1 <= point["different"] <= 2 for point in points)
    assert points[-1]["reached"] == (points[-1]["different"] >= 2)
    assert points[0]["reached"] == 0


def test_files_from_before_images_were_counted_are_read(tmp_path: Path) -> None:
    known = {name: 1.0 for name in points.Point.__dataclass_fields__ if name not in ("name", "model")}
    old = {name: value for name, value in known.items() if name not in ("different", "different_spread", "reached")}
    path = tmp_path / "points.json"
    path.write_text(json.dumps([{"name": "none", "model": "turbo", **old}]), encoding="utf-8")
    [point] = points.read_points(path)
    assert point.different == 0.0 and "0.0 ± 0.0" not in points.as_markdown([point])


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["--seeds", "0"], "at least one seed"),
        (["--rows", "no such method"], "No row's name has no such method"),
        (["--output", __file__], "is no output of this benchmark"),
    ],
)
def test_nothing_is_sampled_for_nothing(prompts: Path, given: list[str], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        pareto.run(arguments("--prompts", str(prompts), *given))


def test_one_at_a_time_every_image_keeps_away_from_those_before(turbo: EmbeddedModel) -> None:
    setting = Setting(turbo, turbo, 4, 1.0)
    found = _one_at_a_time(setting, "doctor", 5, 3)
    alone = [setting.sample("doctor", 15 + number, 1)[0] for number in range(3)]
    assert torch.equal(found[0], alone[0])
    assert not torch.equal(found[1], alone[1]) and not torch.equal(found[2], alone[2])


@pytest.mark.parametrize("distilled", [False, True])
def test_what_is_recommended_leaves_a_lone_image_alone(turbo: EmbeddedModel, distilled: bool) -> None:
    setting = Setting(turbo, turbo, 2, 1.0 if distilled else 5.0)
    plain, guided = (setting.sample("doctor", 3, 1, each) for each in (None, recommended(distilled)))
    assert torch.equal(plain, guided)


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        ("woman detective dark skin", {"gender": "woman", "skin": "dark-skin"}),
        ("person juggling medium dark skin", {"gender": "person", "skin": "medium-dark-skin"}),
        ("twitter doctor", {"vendor": "twitter"}),
    ],
)
def test_what_a_prompt_names(prompt: str, named: dict[str, str]) -> None:
    assert attributes.named(Judge.load(), prompt) == named


def test_a_prompt_that_names_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match='"doctor" names no gender, skin tone or vendor'):
        attributes.named(Judge.load(), "doctor")


def test_real_images_keep_what_their_prompt_names(turbo: EmbeddedModel) -> None:
    judge = Judge.load()
    real = judge.reals.images(judge.reals.matching("woman detective dark skin"))
    assert attributes.kept(judge, real, "woman detective dark skin").shares == {"gender": 1.0, "skin": 1.0}
    other = judge.reals.images(judge.reals.matching("man detective dark skin"))
    assert attributes.kept(judge, other, "woman detective dark skin").shares == {"gender": 0.0, "skin": 1.0}


def test_attributes_are_measured_for_the_rows_that_are_asked_for(
    turbo: EmbeddedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "named.txt"
    path.write_text("twitter doctor\n", encoding="utf-8")
    parser = argparse.ArgumentParser()
    attributes.add_arguments(parser)
    given = ["--prompts", str(path), "--seeds", "1", "--count", "2", "--rows", "CFG 0"]
    assert attributes.run(parser.parse_args(given)) == 0
    assert [line.split(" | ")[0] for line in capsys.readouterr().out.splitlines()[2:]] == [
        "| none",
        "| recommended",
        "| CFG 0 on the first step",
    ]
