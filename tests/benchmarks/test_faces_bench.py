"""The benchmark of faces: people in folders, pairs, and what is printed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diversity_guidance.benchmarks.faces import run as module
from diversity_guidance.benchmarks.faces.photographs import Photograph, lightness, people
from diversity_guidance.benchmarks.faces.run import batches, errors, own_missed, parts
from diversity_guidance.cli import main
from PIL import Image
from support.faces import PHOTOGRAPH


def at(person: str, place: float, group: str = "", light: float = 50.0, name: str = "") -> Photograph:
    return Photograph(person, Path(name or f"{person}{place}"), group, place * torch.eye(128)[0], light)


FOUND = [at("a", 0.0), at("a", 0.3), at("a", 2.0), at("b", 0.4), at("b", 9.0)]


def test_every_pair_is_counted_once() -> None:
    assert errors(FOUND, FOUND, 0.5) == ("2 of 6 (33 %)", "3 of 4 (75 %)")
    assert errors(FOUND[:1], FOUND[:1], 0.5) == ("–", "–")
    assert errors([], FOUND, 0.5) == ("–", "–")


def test_an_altered_photograph_is_another_one_of_its_person_and_itself_apart() -> None:
    altered = [at("a", 1.8, name="a0.0"), at("b", 8.9, name="b9.0")]
    assert errors(altered, FOUND, 0.5) == ("0 of 5 (0 %)", "2 of 3 (67 %)")
    assert own_missed(altered, FOUND, 0.5) == "1 of 2 (50 %)"


def test_parts_are_groups_and_thirds_of_people() -> None:
    found = [at(name, 0.0, "women" if name in "ab" else "men", 10.0 * "cabfed".index(name)) for name in "abcdef" * 2]
    made = {name: {each.person for each in part} for name, part in parts(found).items()}
    assert made == {
        "all": set("abcdef"),
        "men": set("cdef"),
        "women": set("ab"),
        "darkest third of people": set("ca"),
        "middle third of people": set("bf"),
        "lightest third of people": set("ed"),
    }


def test_batches_of_different_people_and_all_photographs_of_one() -> None:
    apart = [at(f"p{number}", 10.0 * number) for number in range(9)]
    assert "be one in 0 of 2,000 (0 %) random batches" in batches(apart, 0.5)
    assert "be one in 2,000 of 2,000 (100 %)" in batches([at(f"p{number}", 0.01 * number) for number in range(9)], 0.5)
    one = [at("a", place) for place in (0.0, 0.1, 0.2, 7.0)]
    assert batches(one, 0.5) == (
        "Of all photographs of one person, 3 of 4 (75 %) are in the largest set: people with four or more, 1 in all."
    )


def test_the_lightness_of_a_face() -> None:
    image = torch.zeros(3, 100, 100)
    image[:, 30:70, 30:70] = torch.tensor([0.5, 0.5, 0.5])[:, None, None]
    assert lightness(image, torch.tensor([0.0, 0.0, 100.0, 100.0])) == pytest.approx(53.4, abs=0.2)
    assert lightness(torch.ones(3, 9, 9), torch.tensor([0.0, 0.0, 9.0, 9.0])) == pytest.approx(100, abs=0.1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "people"
    with Image.open(PHOTOGRAPH) as file:
        image = file.convert("RGB")
    for person, photographs in {
        "eileen": (image, image.resize((300, 300))),
        "nobody": (Image.new("RGB", (64, 64)),),
    }.items():
        (root / person).mkdir(parents=True)
        for number, each in enumerate(photographs):
            each.save(root / person / f"{number}.png")
    return root


def test_people_are_folders(folder: Path, tmp_path: Path) -> None:
    assert [(person, group) for person, group, _ in people(folder)] == [("eileen", "")] * 2 + [("nobody", "")]
    assert [group for _, group, _ in people(tmp_path)] == ["people"] * 3
    with pytest.raises(ValueError, match="needs a subfolder for each of two people"):
        people(folder / "eileen")


def test_what_is_printed(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        module, "CHANGES", {name: module.CHANGES[name] for name in ("mirrored", "preview of 128 pixels")}
    )
    assert main(["bench", "faces", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "3 photographs of 2 people; no face was found in 1." in printed
    assert "| 0.50 | – | 0 of 1 (0 %) |" in printed
    assert "| all | – | 0 of 1 (0 %) |" in printed
    assert "| mirrored | 1 of 3 | – | 0 of 2 (0 %) | 0 of 2 (0 %) |" in printed
    assert "| preview of 128 pixels | 1 of 3 |" in printed
