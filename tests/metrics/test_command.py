"""The command on real folders: groups, damaged files, the files it writes, one self-contained page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from diversity_guidance.cli import main
from diversity_guidance.features.colour_layout import ColourLayout
from diversity_guidance.features.image_files import as_tensor, read_image
from diversity_guidance.features.image_folder import find_images
from diversity_guidance.metrics import measured_folder, progress
from diversity_guidance.metrics.measured_folder import measure_folder
from PIL import Image


def draw(path: Path, seed: int, size: tuple[int, int] = (24, 20)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size).save(path)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    root = tmp_path / "images <b>"
    for seed in range(6):
        draw(root / f"{'cats' if seed % 2 else 'dogs & co'}/{seed}.png", seed, (24, 20) if seed < 3 else (31, 16))
    draw(root / "cats/copy of 1.PNG", 1, (48, 40))
    (root / "cats/broken.jpg").write_bytes(b"not an image")
    (root / "cats/cut.png").write_bytes((root / "cats/1.png").read_bytes()[:200])
    (root / "cats/empty.webp").write_bytes(b"")
    (root / "notes.txt").write_text("no image")
    draw(root / ".hidden/7.png", 7)
    return root


def test_report_of_a_folder(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    arguments = ["report", str(images), "--space", "layout", "--json", "--html", "--csv", "--output", str(out)]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert "7 images, as different as" in printed.out
    assert "3 of 10 images could not be measured" in printed.out
    assert "3 unreadable files" in printed.out and "broken.jpg: cannot identify" in printed.out
    assert "10 of 10 images" in printed.err
    content = json.loads((out / "diversity-report.json").read_text(encoding="utf-8"))
    assert len(content["files"]) == 10 and len(content["unreadable"]) == 3
    assert [group["name"] for group in content["report"]["groups"]] == ["cats", "dogs & co"]
    duplicates = content["report"]["duplicates"]
    assert [content["files"][index] for index in duplicates["rejected"]] == ["cats/copy of 1.PNG"]
    assert (out / "diversity-report.csv").read_text().startswith("group,name,value,space")
    page = (out / "diversity-report.html").read_text(encoding="utf-8")
    assert "images &lt;b&gt;" in page and "<b>" not in page
    assert "cats/copy of 1.PNG" in page and "cats/cut.png" in page
    assert page.count("data:image/") == 4 + 2, "figures, and an image beside the one that repeats it"
    assert "<figcaption>cats/1.png</figcaption></figure><p>is repeated by</p>" in page
    assert "1 of them repeats another one almost exactly: cats/copy of 1.PNG repeats cats/1.png." in printed.out
    assert not re.search(r'(src|href)="(?!data:)', page) and "<script" not in page and "@import" not in page


def test_against_references(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(30):
        draw(tmp_path / f"real/{seed}.png", seed)
        draw(tmp_path / f"more/{seed}.png", 100 + seed)
    options = ["--reference", str(tmp_path / "real"), "--held-out", str(tmp_path / "more"), "--neighbours", "2"]
    html = ["--html", "--output", str(tmp_path)]
    assert main(["report", str(images), "--space", "layout", "--metric", "cosine", *options, *html]) == 0
    printed = capsys.readouterr().out
    assert "30 references, neighbours 2" in printed
    assert "Image Retrieval Score" in (tmp_path / "diversity-report.html").read_text(encoding="utf-8")


def test_before_and_after(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, seed in enumerate((0, 0, 0, 1)):
        draw(tmp_path / f"before/{number}.png", seed)
    options = ["--space", "layout", "--before", str(tmp_path / "before"), "--html", "--json", "--output", str(tmp_path)]
    assert main(["report", str(images), *options]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("The images differ more than before")
    assert "There are 4 images before and 7 after: among 4 of each" in printed
    assert "The images differ more than before" in (tmp_path / "diversity-report.html").read_text(encoding="utf-8")
    assert len(json.loads((tmp_path / "diversity-report.json").read_text(encoding="utf-8"))["compared"]) == 4


def test_reject_while_images_are_still_being_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(40):
        draw(tmp_path / f"real/{seed}.png", seed)
    for number in range(60):
        draw(tmp_path / f"collapsed/{number:02}.png", number % 3)
        draw(tmp_path / f"diverse/{number:02}.png", number % 40)
    options = ["--space", "layout", "--reference", str(tmp_path / "real"), "--reject"]
    assert main(["report", str(tmp_path / "collapsed"), *options, "--planned", "100"]) == 1
    told = capsys.readouterr().out
    assert told.startswith("Stop: after ") and "cannot reach 80% of the references (32 of 40)" in told
    assert main(["report", str(tmp_path / "diverse"), *options, "--planned", "100"]) == 0
    assert capsys.readouterr().out.startswith("Go on: 60 of 100 images reach 40 of 40 references so far")
    assert main(["report", str(tmp_path / "diverse"), *options, "--certainty", "1.5"]) == 2
    assert "must lie between 0 and 1, got 1.5" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "diverse"), "--reject"]) == 2
    assert "--reference" in capsys.readouterr().err


def test_one_image_and_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw(tmp_path / "one/1.png", 1)
    assert main(["report", str(tmp_path / "one"), "--html", "--output", str(tmp_path)]) == 0
    assert "nothing to compare" in capsys.readouterr().out
    (tmp_path / "none").mkdir()
    assert main(["report", str(tmp_path / "none")]) == 2
    assert "holds no images" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "missing")]) == 2
    assert "There is no folder" in capsys.readouterr().err


def test_only_unreadable_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/1.png").write_bytes(b"x")
    assert main(["report", str(tmp_path / "broken"), "--html", "--output", str(tmp_path)]) == 0
    assert "1 of 1 images could not be measured" in capsys.readouterr().out


def test_bad_options_end_in_a_sentence(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(images), "--space", "inception"]) == 2
    assert "choose one of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--duplicate-distance", "-3"], "must lie between 0 and 2, got -3"),
        (["--duplicate-distance", "nan"], "must lie between 0 and 2, got nan"),
        (["--neighbours", "0"], "at least 1 neighbour, got 0"),
        (["--json", "--output", "{images}/notes.txt"], "cannot be written to"),
    ],
)
def test_bad_numbers_are_refused_before_any_work(
    images: Path,
    options: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: object) -> None:
        pytest.fail("an image was read")

    monkeypatch.setattr(measured_folder, "read_image", never)
    assert main(["report", str(images), *(option.format(images=images) for option in options)]) == 2
    assert said in capsys.readouterr().err


def test_progress_says_how_much_time_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    times = iter((0.0, 300.0, 900.0, 1188.0, 1200.0))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
    tell = progress.progress_line("photos")
    for done in (25, 75, 99, 100):
        tell(done, 100)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "photos: 25 of 100 images, about 15 min left",
        "photos: 75 of 100 images, about 5 min left",
        "photos: 99 of 100 images, about 12 s left",
        "photos: 100 of 100 images",
    ]


def test_a_photograph_of_24_megapixels_is_decoded_at_an_eighth(tmp_path: Path) -> None:
    Image.new("RGB", (6000, 4000), (40, 90, 160)).save(tmp_path / "photo.jpg")
    sizes: list[torch.Size] = []

    class Spy(ColourLayout):
        def __call__(self, items: torch.Tensor) -> torch.Tensor:
            sizes.append(items.shape)
            return super().__call__(items)

    measure_folder([tmp_path / "photo.jpg"], Spy())
    assert sizes == [(1, 3, 500, 750)]


def test_features_do_not_depend_on_batches_or_storage(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space, paths = ColourLayout(), find_images(images).paths
    together = measure_folder(paths, space).features
    monkeypatch.setattr(measured_folder, "_BATCH_PIXELS", 1)
    monkeypatch.setattr(measured_folder, "_MEMORY", 0)
    told: list[tuple[int, int]] = []
    alone = measure_folder(paths, space, lambda done, total: told.append((done, total)))
    torch.testing.assert_close(alone.features, together, equal_nan=True)
    assert told[-1] == (10, 10)
    assert [int(row) for row in torch.isnan(alone.features).any(1).nonzero()] == [
        row for row, path in enumerate(paths) if path in dict(alone.unreadable)
    ]


def test_images_are_decoded_as_a_viewer_shows_them(tmp_path: Path) -> None:
    transparent = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    transparent.save(tmp_path / "transparent.png")
    assert read_image(tmp_path / "transparent.png").getpixel((0, 0)) == (255, 255, 255)
    Image.fromarray(np.full((4, 4), 65535 // 2, dtype=np.uint16)).save(tmp_path / "deep.png")
    assert read_image(tmp_path / "deep.png").getpixel((0, 0)) == (127, 127, 127)
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    palette.save(tmp_path / "palette.gif")
    assert read_image(tmp_path / "palette.gif").getpixel((0, 0)) == (10, 20, 30)
    turned = Image.new("RGB", (6, 2))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").size == (2, 6)


def test_a_image_bomb_is_an_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(tmp_path / "1.png", 1)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    found = measure_folder(find_images(tmp_path).paths, ColourLayout())
    assert "decompression bomb" in found.unreadable[0][1]


def test_photographs_are_reduced_before_they_are_measured(tmp_path: Path) -> None:
    """And measured as nearly the same."""
    draw(tmp_path / "photo.jpg", 1, (2400, 1600))
    seen: list[torch.Size] = []

    class Spy(ColourLayout):
        def __call__(self, items: torch.Tensor) -> torch.Tensor:
            seen.append(items.shape)
            return super().__call__(items)

    features = measure_folder([tmp_path / "photo.jpg"], Spy()).features
    assert [min(shape[-2:]) for shape in seen] == [800]
    whole = ColourLayout()(as_tensor(read_image(tmp_path / "photo.jpg"))[None])
    assert float((features - whole).norm()) < ColourLayout().duplicate_distance / 10
