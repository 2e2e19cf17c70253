"""Which images show the same face: sets, sentences, numbers, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diversity_guidance.cli import main
from diversity_guidance.features.faces.finder import FaceFinder, ImageFaces
from diversity_guidance.features.image_folder import find_images
from diversity_guidance.metrics.faces import collect
from diversity_guidance.metrics.faces.collect import batch_faces, folder_faces
from diversity_guidance.metrics.faces.groups import LIMIT, face_distances, face_groups
from diversity_guidance.metrics.faces.same_face import (
    SameFace,
    bank_faces,
    face_measures,
    face_sentences,
    face_verdict,
    same_face,
)
from diversity_guidance.metrics.report import measure
from diversity_guidance.metrics.serialise import to_csv, to_json
from diversity_guidance.metrics.summary import table
from PIL import Image
from support.faces import photograph, without_face
from torch import Tensor


def at(*places: float) -> Tensor:
    """Faces on a line, so that their distances are plain."""
    return torch.tensor(places, dtype=torch.float32)[:, None] * torch.eye(128)[0]


NONE = at()
SMALL = ImageFaces(NONE, torch.zeros(0, 4), too_small=True)


def shown(*places: float) -> ImageFaces:
    return ImageFaces(at(*places), torch.zeros(len(places), 4))


def test_images_with_one_face_are_a_set_the_middle_one_first() -> None:
    assert face_groups([at(0.2), at(5.0), at(0.5), NONE, at(0.7), at(5.1)], 0.35) == [[2, 0, 4], [1, 5]]


def test_faces_that_are_each_a_little_like_the_next_are_no_set() -> None:
    chain = [at(0.3 * place) for place in range(7)]
    groups = face_groups(chain, 0.35)
    assert [len(group) for group in groups] == [3, 3]
    assert all(max(group) - min(group) == 2 and group[0] == min(group) + 1 for group in groups)


def test_any_face_of_an_image_may_be_the_same_and_an_image_is_in_one_set() -> None:
    couple = at(0.0, 9.0)
    assert face_groups([couple, at(0.1), at(9.1), at(9.2)], 0.35) == [[2, 0, 3]]
    assert face_groups([at(0.0, 0.1), at(5.0)], 0.35) == [], "two people in one image are not two images"


@pytest.mark.parametrize("faces", [[], [NONE], [NONE, NONE], [at(1.0)], [at(1.0), NONE], [at(1.0), at(2.0)]])
def test_nothing_in_common(faces: list[Tensor]) -> None:
    assert face_groups(faces, 0.35) == []


def test_the_limit_is_not_reached() -> None:
    assert face_groups([at(0.0), at(0.5)], 0.5) == []
    assert face_groups([at(0.0), at(0.0)], 0.0) == []


def test_distances_are_those_of_the_closest_faces() -> None:
    found = face_distances([at(0.0, 3.0), NONE, at(10.0)], [at(1.0, 9.0), NONE])
    inf = float("inf")
    torch.testing.assert_close(found, torch.tensor([[1.0, inf], [inf, inf], [1.0, inf]]))
    assert face_distances([], [at(0.0)]).shape == (0, 1)


def eight() -> SameFace:
    return same_face(
        {
            **{row: shown(0.0) for row in (0, 2, 3, 5)},
            1: shown(4.0),
            4: shown(4.1),
            6: shown(),
            7: SMALL,
        },
        8,
    )


def test_what_is_said() -> None:
    assert face_verdict(eight()) == "4 of 8 show the same face"
    assert face_sentences(eight()) == [
        "4 of 8 show the same face: image 0, image 2, image 3, image 5.",
        "2 share another one: image 1, image 4.",
        "No face was found in 1 of 8: image 6.",
        "Faces are too small to compare in 1 of 8: image 7.",
    ]
    names = [f"{row}.png" for row in range(8)]
    assert face_sentences(eight(), names)[0] == "4 of 8 show the same face: 0.png, 2.png, 3.png, 5.png."


@pytest.mark.parametrize(
    ("faces", "images", "said"),
    [
        ({0: shown(), 1: shown()}, 2, ["No face was found in any of 2 images."]),
        ({0: shown(0.0), 1: shown(1.0)}, 2, ["No two of 2 images with a face were found to show the same one."]),
        ({0: shown(0.0), 1: shown()}, 2, ["No face was found in 1 of 2: image 1."]),
        (
            {0: SMALL, 1: shown()},
            2,
            ["No face was found in 1 of 2: image 1.", "Faces are too small to compare in 1 of 2: image 0."],
        ),
        ({0: SMALL, 1: SMALL}, 2, ["Faces are too small to compare in 2 of 2: image 0, image 1."]),
        ({}, 3, []),
        (
            {3: shown(0.0), 9: shown(0.0)},
            12,
            [
                "2 of 2 show the same face: image 3, image 9.",
                "Faces were looked for in a random choice of 2 of 12 images.",
            ],
        ),
        (
            {row: shown(float(row // 2)) for row in range(14)},
            14,
            [
                "2 of 14 show the same face: image 0, image 1.",
                "2 share another one: image 2, image 3.",
                "2 share another one: image 4, image 5.",
                "2 share another one: image 6, image 7.",
                "3 more sets of images share a face.",
            ],
        ),
        (
            {row: shown(0.0) for row in range(12)},
            12,
            ["12 of 12 show the same face: " + ", ".join(f"image {row}" for row in range(10)) + ", and 2 more."],
        ),
    ],
)
def test_what_is_said_of_less_and_more(faces: dict[int, ImageFaces], images: int, said: list[str]) -> None:
    assert face_sentences(same_face(faces, images)) == said


def test_the_numbers_and_the_closest_pairs() -> None:
    faces = eight()
    numbers = {entry.name: entry.value for entry in face_measures(faces)}
    assert numbers == {"images_with_face": 6, "same_face_images": 4}
    assert [(pair.first, pair.second) for pair in faces.closest[:6]] == [(0, 2), (0, 3), (0, 5), (2, 3), (2, 5), (3, 5)]
    assert (faces.closest[6].first, faces.closest[6].second) == (1, 4)
    alone = face_measures(same_face({0: shown(0.0), 1: shown()}, 2))
    assert alone[1].value is None and "Two images with a face are needed" in alone[1].note
    apart = face_measures(same_face({0: shown(0.0), 1: shown(3.0)}, 2))
    assert apart[1].value == 0


def test_a_report_says_it_and_rejects_nothing_for_it() -> None:
    features = torch.eye(8)
    report = measure(features, "toy", duplicate_distance=0.1, faces=eight())
    assert "4 of 8 show the same face: image 0" in table(report)
    assert report.duplicates.rejected == () and len(report.duplicates.kept) == 8
    assert json.loads(to_json(report))["faces"]["groups"] == [[0, 2, 3, 5], [1, 4]]
    assert "\n,same_face_images,4,dlib-face-v1,8," in to_csv(report)
    without = measure(features, "toy", duplicate_distance=0.1)
    assert without.faces is None and "face" not in table(without) and "face_images" not in to_csv(without)


def test_a_bank_s_faces() -> None:
    found = {0: shown(0.0), 1: shown(4.0), 2: shown()}
    told = bank_faces(found, [shown(0.1), shown(), SMALL], 5)
    assert told == (
        "Faces of the bank: 1 of 3 images show one of them: image 0. 1 of the 5 images of the bank were compared: "
        "those with a preview in which a face is large enough."
    )
    assert "none was found in the 2 images with a face. 1 of the 5" in bank_faces(found, [shown(9.0)], 5)
    assert "there was nothing to compare. 0 of the 5" in bank_faces(found, [SMALL], 5)
    assert "there was nothing to compare. 1 of the 5" in bank_faces({2: shown()}, [shown(0.0)], 5)


def test_of_a_large_set_a_random_choice_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "MAX_IMAGES", 3)
    steps: list[int] = []
    images = [torch.rand(3, 8, 8) for _ in range(9)]
    found = batch_faces(images, FaceFinder(), lambda: steps.append(1))
    assert len(found) == len(steps) == 3 and set(found) <= set(range(9))
    assert "random choice of 3 of 9 images" in face_sentences(same_face(found, 9))[-1]


def test_an_image_that_is_not_finite_is_left_out() -> None:
    images = [photograph(), torch.full((3, 20, 20), torch.nan), photograph().flip(2)]
    found = batch_faces(images, FaceFinder(), int)
    assert sorted(found) == [0, 2]
    assert same_face(found, 3).groups[0] == (0, 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    root.mkdir()
    for name, image in {
        "a": photograph(),
        "b": without_face(),
        "c": photograph().flip(2) * 0.8,
    }.items():
        pixels = (image.movedim(0, -1) * 255).round().to(torch.uint8).numpy()
        Image.fromarray(pixels).save(root / f"{name}.png")
    (root / "d.png").write_bytes(b"broken")
    return root


def test_faces_of_a_folder(folder: Path) -> None:
    told: list[tuple[int, int]] = []
    found = folder_faces(find_images(folder).paths, FaceFinder(), lambda done, total: told.append((done, total)))
    assert {row: len(faces.vectors) for row, faces in found.items()} == {0: 1, 1: 0, 2: 1}
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert float((found[0].vectors - found[2].vectors).norm()) < LIMIT


def test_the_command_says_it_where_it_is_asked_to(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["report", str(folder), "--space", "layout", "--json", "--html", "--csv", "--output", str(tmp_path)]
    said = "2 of 3 show the same face: a.png, c.png. No face was found in 1 of 3: b.png."
    assert main([*arguments, "--same-face"]) == 0
    assert said in capsys.readouterr().out
    content = json.loads((tmp_path / "diversity-report.json").read_text(encoding="utf-8"))
    assert content["report"]["faces"]["groups"] == [[0, 2]] and content["report"]["faces"]["without_face"] == [1]
    page = (tmp_path / "diversity-report.html").read_text(encoding="utf-8")
    assert said in page and "<strong>Which images show the same face.</strong>" in page
    assert (
        "same_face_images,2.0" in (tmp_path / "diversity-report.csv").read_text()
        or "same_face_images,2," in (tmp_path / "diversity-report.csv").read_text()
    )
    assert main(arguments) == 0
    assert "face" not in capsys.readouterr().out
    assert "face" not in (tmp_path / "diversity-report.html").read_text(encoding="utf-8").replace("typeface", "")
