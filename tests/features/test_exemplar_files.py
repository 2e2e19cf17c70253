"""Exemplars from folders below a root."""

from __future__ import annotations

from pathlib import Path

import pytest
from diversity_guidance.features.exemplar_files import LONGEST_SIDE, find_exemplars, read_exemplars
from PIL import Image
from torch import Tensor


def exemplars_of(root: Path, name: str) -> tuple[Tensor, ...]:
    return read_exemplars(find_exemplars(root, name, 10))


def saved(folder: Path, name: str, colour: tuple[int, ...] = (255, 0, 0), size: tuple[int, int] = (6, 4)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGBA" if len(colour) == 4 else "RGB", size, colour).save(folder / name)


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    saved(tmp_path / "town", "b.png", (0, 255, 0))
    saved(tmp_path / "town", "a.jpg", (0, 0, 0), size=(9, 3))
    saved(tmp_path / "town", "C.WEBP".lower(), (0, 0, 0, 0))
    (tmp_path / "town" / "notes.txt").write_text("no image")
    saved(tmp_path / "town" / "deeper", "d.png")
    exemplars = exemplars_of(tmp_path, "town")
    assert [tuple(image.shape) for image in exemplars] == [(3, 3, 9), (3, 4, 6), (3, 4, 6)]
    assert exemplars[1][:, 0, 0].tolist() == [0, 255, 0]
    assert exemplars[2][:, 0, 0].tolist() == [255, 255, 255]  # transparent on white


def test_large_images_are_scaled_down(tmp_path: Path) -> None:
    saved(tmp_path / "town", "a.png", size=(2 * LONGEST_SIDE, 10))
    assert exemplars_of(tmp_path, "town")[0].shape == (3, 5, LONGEST_SIDE)


@pytest.mark.parametrize("name", ["", " ", ".", "..", "../outside", "/etc", "town/../..", "a/../../outside"])
def test_folders_outside_the_root_are_refused(tmp_path: Path, name: str) -> None:
    root = tmp_path / "input"
    saved(root / "town", "a.png")
    saved(tmp_path / "outside", "a.png")
    with pytest.raises(ValueError, match="not a folder below"):
        find_exemplars(root, name, 2)


def test_links_out_of_the_root_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "input"
    root.mkdir()
    saved(tmp_path / "outside", "a.png")
    (root / "link").symlink_to(tmp_path / "outside", target_is_directory=True)
    with pytest.raises(ValueError, match="not a folder below"):
        find_exemplars(root, "link", 2)


def test_bad_folders_are_a_sentence_each(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no folder .*town"):
        find_exemplars(tmp_path, "town", 2)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no images"):
        find_exemplars(tmp_path, "empty", 2)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"a\.png cannot be read"):
        exemplars_of(tmp_path, "broken")
    (tmp_path / "many").mkdir()
    for number in range(3):
        (tmp_path / "many" / f"{number}.png").touch()
    with pytest.raises(ValueError, match="are the most"):
        find_exemplars(tmp_path, "many", 2)
