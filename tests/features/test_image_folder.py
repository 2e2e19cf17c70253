"""What a folder holds: images by their contents, links followed, and everything else by name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from diversity_guidance.features.image_folder import find_images, folder_below, printable, summary
from PIL import Image


def draw(path: Path, kind: str = "PNG") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        Image.new("RGB", (4, 4)).save(file, kind)


def entries(folder: Path) -> int:
    """All that lies in a folder, without links and what is hidden in folders."""
    return sum(not path.is_dir() for path in folder.rglob("*"))


def test_contents_count_and_not_endings(tmp_path: Path) -> None:
    images = {"a.png": "PNG", "b.jfif": "JPEG", "c.jpe": "JPEG", "d.apng": "PNG", "e": "PNG", "f.tmp": "WEBP"}
    images |= {"g.x": "GIF", "h.x": "BMP", "i.x": "TIFF", "j.x": "ICO", "k.x": "PPM", "l.x": "JPEG2000", "m.x": "QOI"}
    for name, kind in images.items():
        draw(tmp_path / name, kind)
    (tmp_path / "damaged.JPG").write_bytes(b"")
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "._a.png").write_bytes(b"\0\5\x16\7" + bytes(78))
    (tmp_path / "empty").write_bytes(b"")
    found = find_images(tmp_path)
    assert found.names() == sorted([*images, "damaged.JPG", "phone.heic"])
    assert found.passed_over == (("._a.png", "hidden"), ("empty", "not an image"), ("notes.txt", "not an image"))
    assert summary(found.passed_over) == "3 passed over: 1 hidden, 2 not an image."
    assert len(found.paths) + len(found.passed_over) == entries(tmp_path)


def test_links_are_followed_and_never_in_circles(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for name in ("set/a.png", "set/z/d.png", "else/b.png", "else/deep/c.png"):
        draw(tmp_path / name)
    (root / "linked").symlink_to(tmp_path / "else")
    (root / "again").symlink_to(tmp_path / "else")
    (root / "to z").symlink_to(root / "z")
    (root / "up").symlink_to(tmp_path)
    (root / "self").symlink_to(root)
    (tmp_path / "else/back").symlink_to(root)
    (root / "file.png").symlink_to(tmp_path / "else/b.png")
    (root / "broken").symlink_to(tmp_path / "missing")
    (root / "circle").symlink_to(root / "circle")
    found = find_images(root)
    assert found.names() == ["a.png", "again/b.png", "again/deep/c.png", "file.png", "z/d.png"]
    reasons = dict(found.passed_over)
    read = "link to a folder that is read already"
    assert reasons == {
        **dict.fromkeys(("linked/", "self/", "to z/", "up/", "again/back/"), read),
        **dict.fromkeys(("broken", "circle"), "broken link"),
    }


def test_links_do_not_leave_what_is_allowed(tmp_path: Path) -> None:
    root = tmp_path / "input"
    for name in ("input/set/a.png", "input/other/b.png", "else/c.png"):
        draw(tmp_path / name)
    (root / "set/out").symlink_to(tmp_path / "else")
    (root / "set/out.png").symlink_to(tmp_path / "else/c.png")
    (root / "set/in").symlink_to(root / "other")
    found = find_images(root / "set", within=root)
    assert found.names() == ["a.png", "in/b.png"]
    out = "link out of the folder that is allowed"
    assert found.passed_over == (("out.png", out), ("out/", out))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes: run it on Linux or macOS")
def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert find_images(tmp_path).passed_over == (("pipe.png", "not an image"),)


def test_subfolders_may_be_left_out(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    draw(tmp_path / "deeper/b.png")
    found = find_images(tmp_path, subfolders=False)
    assert (found.names(), found.passed_over) == (["a.png"], (("deeper/", "subfolder"),))


def test_a_folder_without_images_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(ValueError, match=r"holds no images\. 1 passed over: 1 not an image\."):
        find_images(tmp_path)


def test_names_that_are_not_utf8_can_be_printed(tmp_path: Path) -> None:
    draw(tmp_path / os.fsdecode(b"caf\xe9.png"))
    assert find_images(tmp_path).names() == ["caf\\udce9.png"]
    assert printable("壊れた") == "壊れた"


@pytest.mark.parametrize("name", ["", " ", ".", "..", "../outside", "/etc", "a/../..", "nul\0", "x" * 10_000])
def test_folders_outside_of_the_base_are_refused(tmp_path: Path, name: str) -> None:
    if name.startswith("x"):
        with pytest.raises(ValueError, match=r"There is no folder|not a folder name"):
            find_images(folder_below(tmp_path, name))
        return
    with pytest.raises(ValueError, match=r"not a folder below|not a folder name"):
        folder_below(tmp_path, name)
