"""Exemplars from images and folders, and what is measured on them."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from diversity_guidance.stores.exemplar_set import (
    LONGEST_SIDE,
    MOST_EXEMPLARS,
    ExemplarError,
    ExemplarSet,
    picture_files,
)
from PIL import Image
from torch import Tensor


def saved(folder: Path, name: str, colour: tuple[int, ...] = (255, 0, 0), size: tuple[int, int] = (6, 4)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGBA" if len(colour) == 4 else "RGB", size, colour).save(folder / name)


def test_images_keep_their_colours() -> None:
    images = torch.rand(3, 3, 5, 7)
    exemplars = ExemplarSet.from_images(images)
    assert len(exemplars) == 3
    assert torch.allclose(torch.stack(exemplars.pictures) / 255, images, atol=0.5 / 255 + 1e-6)


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    saved(tmp_path / "town", "b.png", (0, 255, 0))
    saved(tmp_path / "town", "a.jpg", (0, 0, 0), size=(9, 3))
    saved(tmp_path / "town", "C.WEBP".lower(), (0, 0, 0, 0))
    (tmp_path / "town" / "notes.txt").write_text("no picture")
    saved(tmp_path / "town" / "deeper", "d.png")
    exemplars = ExemplarSet.from_folder(tmp_path, "town")
    assert [tuple(picture.shape) for picture in exemplars.pictures] == [(3, 3, 9), (3, 4, 6), (3, 4, 6)]
    assert exemplars.pictures[1][:, 0, 0].tolist() == [0, 255, 0]
    assert exemplars.pictures[2][:, 0, 0].tolist() == [255, 255, 255]  # transparent on white


def test_large_pictures_are_scaled_down(tmp_path: Path) -> None:
    saved(tmp_path / "town", "a.png", size=(2 * LONGEST_SIDE, 10))
    assert ExemplarSet.from_folder(tmp_path, "town").pictures[0].shape == (3, 5, LONGEST_SIDE)


@pytest.mark.parametrize("name", ["", " ", ".", "..", "../outside", "/etc", "town/../..", "a/../../outside"])
def test_folders_outside_the_root_are_refused(tmp_path: Path, name: str) -> None:
    root = tmp_path / "input"
    saved(root / "town", "a.png")
    saved(tmp_path / "outside", "a.png")
    with pytest.raises(ExemplarError, match="not a folder below"):
        picture_files(root, name)


def test_links_out_of_the_root_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "input"
    root.mkdir()
    saved(tmp_path / "outside", "a.png")
    (root / "link").symlink_to(tmp_path / "outside", target_is_directory=True)
    with pytest.raises(ExemplarError, match="not a folder below"):
        picture_files(root, "link")


def test_bad_folders_are_a_sentence_each(tmp_path: Path) -> None:
    with pytest.raises(ExemplarError, match='no folder "town"'):
        picture_files(tmp_path, "town")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ExemplarError, match="holds no pictures"):
        picture_files(tmp_path, "empty")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"no picture")
    with pytest.raises(ExemplarError, match=r"a\.png cannot be read"):
        ExemplarSet.from_folder(tmp_path, "broken")
    (tmp_path / "many").mkdir()
    for number in range(MOST_EXEMPLARS + 1):
        (tmp_path / "many" / f"{number}.png").touch()
    with pytest.raises(ExemplarError, match="are the most"):
        picture_files(tmp_path, "many")


@pytest.mark.parametrize(
    "images",
    [torch.zeros(0, 3, 4, 4), torch.zeros(2, 4, 4, 4), torch.zeros(3, 4, 4), torch.full((1, 3, 4, 4), torch.nan)],
)
def test_bad_images(images: Tensor) -> None:
    with pytest.raises(ExemplarError):
        ExemplarSet.from_images(images)


def test_features_are_measured_once_a_space() -> None:
    exemplars = ExemplarSet.from_images(torch.rand(3, 3, 4, 4))
    calls: list[int] = []

    def measure(picture: Tensor) -> Tensor:
        calls.append(1)
        return picture.flatten(1)

    first = exemplars.features("a", measure)
    assert first.shape == (3, 48)
    assert exemplars.features("a", measure) is first
    exemplars.features("b", measure)
    assert len(calls) == 6


def test_latent_features_need_latents() -> None:
    exemplars = ExemplarSet.from_images(torch.rand(2, 3, 4, 4))
    with pytest.raises(ExemplarError, match="pictures only"):
        exemplars.latent_features("a", lambda latent: latent.flatten(1))
    with_latents = exemplars.with_latents([torch.ones(4, 2, 2), torch.zeros(4, 2, 3)])
    assert with_latents.latent_features("a", lambda latent: latent.flatten(1)[:, :4]).tolist() == [[1] * 4, [0] * 4]
    with pytest.raises(ExemplarError, match="1 latents for 2 pictures"):
        exemplars.with_latents([torch.ones(4, 2, 2)])


def test_the_digest_is_that_of_the_content() -> None:
    images = torch.rand(2, 3, 4, 4)
    one, same = ExemplarSet.from_images(images), ExemplarSet.from_images(images)
    assert one.digest == same.digest
    assert one.digest != ExemplarSet.from_images(images.flip(0)).digest
    assert one.digest != one.with_latents([torch.ones(4, 2, 2)] * 2).digest
    assert pickle.loads(pickle.dumps(one)).digest == one.digest


def test_its_memory_is_told() -> None:
    exemplars = ExemplarSet.from_images(torch.rand(2, 3, 4, 4))
    before = exemplars.get_ram_usage()
    exemplars.features("a", lambda picture: picture.flatten(1))
    assert (before, exemplars.get_ram_usage()) == (96, 96 + 2 * 48 * 4)
