"""Filling an index: each content once, unreadable files named, stopped builds go on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diversity_guidance.features.image_files import read_image
from diversity_guidance.features.image_folder import find_images
from diversity_guidance.indexing.build import build
from diversity_guidance.indexing.sources import (
    Encode,
    Fitted,
    GivenImages,
    ImageFiles,
)
from diversity_guidance.stores.protected.builder import IndexBuilder
from diversity_guidance.stores.protected.errors import IndexSpaceError
from diversity_guidance.stores.protected.index import ProtectedIndex
from torch import Tensor

SPACE = "latent:toy"


def shrunk(pictures: Tensor) -> Tensor:
    return torch.nn.functional.avg_pool2d(pictures, 4)


class Counted:
    """An encoder that counts pictures, and may be told to fail."""

    def __init__(self, fail_at: int = -1) -> None:
        self.count = 0
        self.fail_at = fail_at

    def __call__(self, pictures: Tensor) -> Tensor:
        if pictures.any():
            self.count += len(pictures)
            if self.count >= self.fail_at > 0:
                raise KeyboardInterrupt
        return shrunk(pictures)


def files(root: Path, encode: Encode = shrunk, size: int = 16) -> ImageFiles:
    return ImageFiles(find_images(root), Fitted(size, size, encode, batch=2))


def silent(done: int, total: int) -> None:
    pass


def test_every_picture_once_and_the_unreadable_named(pictures: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    outcome = build(tmp_path / "index", SPACE, files(pictures), lambda done, total: told.append((done, total)))
    assert (outcome.added, outcome.total, outcome.repeated, outcome.finished) == (10, 10, 1, True)
    assert [name for name, _ in outcome.unreadable] == ["cats/broken.jpg", "dogs/cut.png"]
    assert outcome.sentence() == "10 images were added, 1 were known: 10 are protected. 2 could not be read."
    assert told[-1] == (13, 13)
    index = ProtectedIndex.open(tmp_path / "index")
    assert (len(index), index.space, index.shape) == (10, SPACE, (3, 4, 4))
    assert [index.name(0), index.name(9)] == ["cats/1.png", "dogs/8.png"]
    source = files(pictures)
    encoded = shrunk(torch.stack([source.fitted.ready(read_image(pictures / index.name(row))) for row in range(10)]))
    torch.testing.assert_close(index.sample(10), encoded, rtol=1e-3, atol=1e-3)


def vanished(path: Path) -> None:
    path.unlink()


def a_bomb(path: Path) -> None:
    """A header that claims 1,600 million pixels."""
    size = (40000).to_bytes(4, "little")
    header = b"BM" + bytes(8) + (54).to_bytes(4, "little") + (40).to_bytes(4, "little")
    path.write_bytes(header + size + size + (1).to_bytes(2, "little") + (24).to_bytes(2, "little") + bytes(24))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (vanished, "No such file"),
        (a_bomb, "decompression bomb"),
        (lambda path: path.write_bytes(b""), "cannot identify"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "truncated"),
    ],
)
def test_one_picture_that_cannot_be_read_costs_itself_only(
    pictures: Path, tmp_path: Path, spoil: Callable[[Path], object], reason: str
) -> None:
    source = files(pictures / "dogs")
    expected = build(tmp_path / "whole", SPACE, source, silent)
    spoil(pictures / "dogs" / "4.png")
    outcome = build(tmp_path / "index", SPACE, source, silent)
    assert outcome.added == expected.added - 1
    told = dict(outcome.unreadable)
    assert told.keys() == {"4.png", "cut.png"} and reason in told["4.png"]


def test_what_is_there_is_never_encoded_again(pictures: Path, tmp_path: Path) -> None:
    build(tmp_path / "index", SPACE, files(pictures), silent)
    before = ProtectedIndex.open(tmp_path / "index")
    (pictures / "cats/1.png").rename(pictures / "cats/renamed.png")
    counted = Counted()
    outcome = build(tmp_path / "index", SPACE, files(pictures, counted), silent)
    assert (outcome.added, outcome.total, outcome.repeated, counted.count) == (0, 10, 11, 0)
    assert ProtectedIndex.open(tmp_path / "index").manifest == before.manifest, "nothing was published anew"


def test_new_pictures_are_added(pictures: Path, tmp_path: Path) -> None:
    build(tmp_path / "index", SPACE, files(pictures / "cats"), silent)
    counted = Counted()
    outcome = build(tmp_path / "index", SPACE, files(pictures, counted), silent)
    assert (outcome.added, outcome.total, counted.count) == (5, 10, 5)


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_a_build_goes_on_where_it_stopped_and_ends_equal(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("diversity_guidance.indexing.build.KEPT_BYTES", 1)
    build(tmp_path / "straight", SPACE, files(pictures), silent)
    folder = tmp_path / "index"
    if how == "stopped":
        stops = iter([False, False, True])
        outcome = build(folder, SPACE, files(pictures), silent, lambda: next(stops))
        assert not outcome.finished and "goes on from there" in outcome.sentence()
    else:
        with pytest.raises(KeyboardInterrupt):
            build(folder, SPACE, files(pictures, Counted(fail_at=7)), silent)
    with pytest.raises(ValueError, match="There is no protected index"):
        ProtectedIndex.open(folder)
    counted = Counted()
    outcome = build(folder, SPACE, files(pictures, counted), silent)
    assert (outcome.added, outcome.repeated, counted.count) == (10, 1, 4)
    assert ProtectedIndex.open(folder).fingerprint() == ProtectedIndex.open(tmp_path / "straight").fingerprint()


def test_whatever_ends_a_build_what_was_encoded_is_kept(pictures: Path, tmp_path: Path) -> None:
    """Though too little for it to be written by itself: a host raises its Cancel inside the encoder."""
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "index", SPACE, files(pictures, Counted(fail_at=7)), silent)
    counted = Counted()
    assert build(tmp_path / "index", SPACE, files(pictures, counted), silent).added == 10
    assert counted.count == 4


def test_pictures_at_hand(tmp_path: Path) -> None:
    images = torch.rand((3, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    images = torch.cat([images, images[:1]])
    outcome = build(tmp_path / "index", SPACE, GivenImages(images, "images", Fitted(16, 16, shrunk)), silent)
    assert (outcome.added, outcome.repeated) == (3, 1)
    index = ProtectedIndex.open(tmp_path / "index")
    assert index.name(2) == "images:2"
    torch.testing.assert_close(index.sample(3), shrunk(images[:3]), rtol=1e-2, atol=1e-2)


def test_another_size_or_space_is_refused_and_nothing_is_lost(pictures: Path, tmp_path: Path) -> None:
    build(tmp_path / "index", SPACE, files(pictures), silent)
    before = ProtectedIndex.open(tmp_path / "index").manifest
    for space, source in ((SPACE, files(pictures, size=32)), ("latent:other", files(pictures))):
        with pytest.raises(IndexSpaceError, match="choose another folder"):
            build(tmp_path / "index", space, source, silent)
    assert ProtectedIndex.open(tmp_path / "index").manifest == before


def test_nothing_to_protect(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/1.png").write_bytes(b"x")
    with pytest.raises(ValueError, match="Nothing could be read"):
        build(tmp_path / "index", SPACE, files(tmp_path / "pictures"), silent)


def test_two_builds_at_once_are_refused(pictures: Path, tmp_path: Path) -> None:
    with (
        IndexBuilder(tmp_path / "index", SPACE, (3, 4, 4)),
        pytest.raises(ValueError, match="another process"),
    ):
        build(tmp_path / "index", SPACE, files(pictures), silent)
