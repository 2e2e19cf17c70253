"""A Protected Index under full disks, damaged bytes, changes and several processes."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from diversity_guidance.stores.protected.builder import IndexBuilder
from diversity_guidance.stores.protected.checksummed_json import read_checksummed, write_checksummed
from diversity_guidance.stores.protected.errors import (
    IndexDamagedError,
    IndexSpaceError,
    IndexVersionError,
    IndexWriteError,
    ProtectedIndexError,
)
from diversity_guidance.stores.protected.index import ProtectedIndex
from support.index_data import SPACE, build, references
from support.index_processes import PART_ROWS, PARTS, SHAPE, ask, build_or_resume, content, fail_to_build, part
from support.processes import finish, start

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX processes: run it on Linux or macOS")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index that was built in one go."""
    folder = tmp_path_factory.mktemp("whole")
    build_or_resume(folder)
    return folder


def flipped(data: bytes, place: int, bit: int) -> bytes:
    return data[:place] + bytes([data[place] ^ (1 << bit)]) + data[place + 1 :]


def test_every_changed_byte_is_told(tmp_path: Path, whole: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(whole, folder)
    rng = random.Random(2)
    for name, data in content(folder).items():
        places = range(len(data)) if len(data) < 300 else sorted(rng.sample(range(len(data)), 60))
        for place in places:
            (folder / name).write_bytes(flipped(data, place, rng.randrange(8)))
            try:
                told = ProtectedIndex.open(folder).verify()
            except ProtectedIndexError as error:
                told = [str(error)]
            assert told and Path(name).name in told[0], f"byte {place} of {name}"
        (folder / name).write_bytes(data)
    assert ProtectedIndex.open(folder).verify() == []


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data + b"x", lambda data: b"", None])
def test_a_cut_or_missing_file_is_told(tmp_path: Path, whole: Path, damage: Callable[[bytes], bytes] | None) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(whole, folder)
    for name, data in content(folder).items():
        (folder / name).unlink()
        if damage is not None:
            (folder / name).write_bytes(damage(data))
        with pytest.raises(ProtectedIndexError):
            ProtectedIndex.open(folder)
        (folder / name).write_bytes(data)


def test_a_damaged_row_is_refused_when_it_is_read_and_only_then(tmp_path: Path) -> None:
    vectors = references("normal", 40, 24, 0)
    folder = tmp_path / "index"
    build(folder, vectors, shape=SHAPE)
    (path,) = (
        path for path in (folder / "shards").iterdir() if path.suffix == ".f16" and path.stat().st_size == 40 * 48
    )
    path.write_bytes(flipped(path.read_bytes(), 7 * 48 + 11, 3))
    index = ProtectedIndex.open(folder)
    assert len(index.within(vectors[:5], 0.5)) == 5
    for attempt in (
        lambda: index.within(vectors[7:8], 0.5),
        lambda: index.nearest(vectors[7:8]),
        lambda: index.sample(40),
        index.vectors,
    ):
        with pytest.raises(IndexDamagedError, match=rf"{path.name} does not hold what was written in row 7\. Restore"):
            attempt()
    assert len(index.verify()) == 2


@pytest.mark.parametrize("change", ["add", "remove", "join"])
def test_a_damaged_index_is_not_built_upon(tmp_path: Path, change: str) -> None:
    """A new filter made of damaged rows would pass them over without a word."""
    vectors, folder = references("normal", 40, 24, 0), tmp_path / "index"
    damaged = build(folder, vectors, shape=SHAPE, shard_bytes=10 * 48).manifest.shards[1]
    path = folder / "shards" / f"{damaged.rows}.f16"
    path.write_bytes(bytes(48) + path.read_bytes()[48:])
    before = content(folder)
    with (
        pytest.raises(IndexDamagedError, match=path.name),
        IndexBuilder.opened(folder) if change != "join" else IndexBuilder(tmp_path / "new", SPACE, SHAPE) as builder,
    ):
        if change == "add":
            builder.append(part(0)[:1], ["new"])
        elif change == "remove":
            builder.remove([35])
        else:
            builder.join(folder)
        builder.finish()
    kept = {name: data for name, data in content(folder).items() if not name.startswith("building")}
    assert kept == before, "the index stays as it was"
    with pytest.raises(IndexDamagedError, match=path.name):
        ProtectedIndex.open(folder).within(vectors[10:11], 0.5)


def test_reading_writes_nothing(tmp_path: Path, whole: Path) -> None:
    """An open index is read-only: its folder may be, and what is changed in memory is not changed on disk."""
    folder = tmp_path / "index"
    shutil.copytree(whole, folder)
    before = content(folder)
    index = ProtectedIndex.open(folder)
    point = index.sample(3)
    assert len(index.within(point, 1.0)) >= 3 and index.nearest(point)[0].max() < 1e-3 and index.verify() == []
    for block in index.vectors():
        block.zero_()
    assert content(folder) == before
    assert ProtectedIndex.open(folder).verify() == []


def test_a_damaged_build_is_refused(tmp_path: Path) -> None:
    with IndexBuilder(tmp_path, SPACE, SHAPE) as builder:
        builder.append(part(0), ["a"] * PART_ROWS)
    for name, data in content(tmp_path).items():
        (tmp_path / name).write_bytes(flipped(data, len(data) // 2, 0))
        with (
            pytest.raises(IndexDamagedError, match=Path(name).name),
            IndexBuilder(tmp_path, SPACE, SHAPE) as builder,
        ):
            builder.finish()
        (tmp_path / name).write_bytes(data)
    with IndexBuilder(tmp_path, SPACE, SHAPE) as builder:
        assert builder.finish().count == PART_ROWS


@pytest.mark.parametrize(
    ("version", "sentence"), [(99, "newer version .*update the pack"), (1, "older version .*build the index again")]
)
def test_an_index_of_another_version_is_refused(tmp_path: Path, whole: Path, version: int, sentence: str) -> None:
    manifest = read_checksummed(whole / "manifest.json")
    write_checksummed(tmp_path / "manifest.json", {**manifest, "version": version})
    for attempt in (lambda: ProtectedIndex.open(tmp_path), lambda: IndexBuilder(tmp_path, SPACE, SHAPE)):
        with pytest.raises(IndexVersionError, match=sentence):
            attempt()


@pytest.mark.parametrize("name", ["../../../etc/passwd", "/etc/passwd", "", 7, "A" * 32])
def test_a_manifest_cannot_name_files_elsewhere(tmp_path: Path, whole: Path, name: str) -> None:
    manifest = read_checksummed(whole / "manifest.json")
    shards = [{**shard, "rows": name} for shard in manifest["shards"]]
    for changed in ({"shards": shards}, {"filter": name}, {"shards": [{"rows": name}]}, {"unknown": name}):
        write_checksummed(tmp_path / "manifest.json", {**manifest, **changed})
        with pytest.raises(IndexDamagedError):
            ProtectedIndex.open(tmp_path)


@posix
def test_a_full_disk_leaves_the_index_as_it_was(tmp_path: Path, whole: Path) -> None:
    folder = tmp_path / "index"
    shutil.copytree(whole, folder)
    before = ProtectedIndex.open(folder).fingerprint()
    for limit in (500, 3500):  # the appended part, the filter
        finish(start(fail_to_build, folder, limit))
        assert ProtectedIndex.open(folder).fingerprint() == before and ProtectedIndex.open(folder).verify() == []
        assert not list(folder.rglob("*.tmp"))


@posix
def test_several_processes_read_one_index_while_another_changes_it(tmp_path: Path) -> None:
    vectors = references("clusters", 500, 24, 0)
    folder = tmp_path / "index"
    index = build(folder, vectors, shape=SHAPE)
    points = vectors[:6] + 0.01
    expected = index.within(points, 1.0).references
    processes = [start(ask, folder, points, 1.0, expected) for _ in range(3)]
    finish(*processes)
    with IndexBuilder.opened(folder) as builder:
        builder.remove(range(0, 500, 2))
        builder.finish()
    # Opened before the change: its files are gone from the folder, not from this process.
    assert torch.equal(index.within(points, 1.0).references, expected)
    assert len(ProtectedIndex.open(folder)) == 250


def test_adding_and_removing_ends_where_building_in_one_go_does(tmp_path: Path, whole: Path) -> None:
    with IndexBuilder(tmp_path, SPACE, SHAPE, shard_bytes=3000) as builder:
        builder.append(references("normal", 30, 24, 9).view(-1, *SHAPE), [f"other {row}" for row in range(30)])
        builder.append(part(0), [f"0/{row}.png" for row in range(PART_ROWS)], [f"hash of 0/{r}.png" for r in range(25)])
        builder.finish()
        build_names = [f"other {row}" for row in range(1, 30)]
        assert builder.remove([0, *build_names]) == 30 and builder.remove([0]) == 0
        builder.finish()
    build_or_resume(tmp_path)
    assert ProtectedIndex.open(tmp_path).fingerprint() == ProtectedIndex.open(whole).fingerprint()
    assert {name: data for name, data in content(tmp_path).items() if name != "manifest.json"} == {
        name: data for name, data in content(whole).items() if name != "manifest.json"
    }
    with IndexBuilder.opened(tmp_path) as builder, pytest.raises(ValueError, match="holds no 'gone'"):
        builder.remove(["gone"])


def test_shards_built_apart_open_as_one_index(tmp_path: Path, whole: Path) -> None:
    folders = [tmp_path / name for name in ("first", "second")]
    for folder, numbers in zip(folders, (range(5), range(5, PARTS)), strict=True):
        with IndexBuilder(folder, SPACE, SHAPE) as builder:
            for number in numbers:
                names = [f"{number}/{row}.png" for row in range(PART_ROWS)]
                builder.append(part(number), names, [f"hash of {name}" for name in names])
            if folder == folders[0]:
                builder.finish()
    with IndexBuilder(tmp_path / "joined", SPACE, SHAPE, shard_bytes=3000) as builder:
        assert [builder.join(folder) for folder in folders] == [(125, 0), (75, 0)]
        assert builder.join(folders[1]) == (0, 0)
        builder.finish()
    assert content(tmp_path / "joined") == content(whole)


def with_keys(folder: Path, number: int, names: Sequence[str], keys: Sequence[str]) -> Path:
    """A build that was not finished, of the first rows of a part."""
    with IndexBuilder(folder, SPACE, SHAPE) as builder:
        builder.append(part(number)[: len(names)], names, keys)
    return folder


def test_joining_takes_every_content_once(tmp_path: Path) -> None:
    """Under the first name that it came with; what has no key is told apart by its name."""
    first = with_keys(tmp_path / "first", 0, ["a", "b", "c", "plain"], ["1", "2", "1", ""])
    second = with_keys(tmp_path / "second", 1, ["d", "e", "b", "plain", "bare"], ["2", "3", "4", "", ""])
    with IndexBuilder(tmp_path / "joined", SPACE, SHAPE) as builder:
        assert builder.join(first) == (3, 1)
        builder.append(part(2)[:1], ["f"], ["5"])
        assert builder.join(second) == (3, 1)
        assert builder.join(with_keys(tmp_path / "third", 3, ["g", "h"], ["5", "6"])) == (1, 1)
        assert builder.join(first) == (0, 1), "joined again"
        labels = builder.labels()
        builder.finish()
        assert labels.names == ("a", "b", "plain", "f", "e", "b", "bare", "h")
        assert labels.keys == ("1", "2", "", "5", "3", "4", "", "6")
        # What was removed is no longer here.
        builder.remove(["a"])
        assert builder.join(first) == (1, 1)
        assert builder.labels().names[-1] == "a"


def test_joining_reads_what_is_here_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [with_keys(tmp_path / str(number), number, ["a"], [str(number)]) for number in range(4)]
    read: list[IndexBuilder] = []
    labels = IndexBuilder.labels
    monkeypatch.setattr(IndexBuilder, "labels", lambda builder: read.append(builder) or labels(builder))
    with IndexBuilder(tmp_path / "joined", SPACE, SHAPE) as builder:
        assert sum(builder.join(folder).taken for folder in folders) == 4
    assert read == [builder]


def test_bad_input_is_refused_before_anything_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    build(folder, references("normal", 10, 24, 0), shape=SHAPE)
    before = content(folder)
    for space, shape in ((SPACE, (2, 3, 4)), ("latent:Flux", SHAPE)):
        with pytest.raises(IndexSpaceError, match="choose another folder"):
            IndexBuilder(folder, space, shape)
    with IndexBuilder.opened(folder) as builder:
        with pytest.raises(IndexWriteError, match=r"another process .*wait until it is done"):
            IndexBuilder.opened(folder)
        with pytest.raises(IndexSpaceError, match="these have"):
            builder.append(torch.zeros(1, 24), ["a"])
        build(tmp_path / "of another shape", references("normal", 5, 24, 0), shape=(2, 3, 4))
        with pytest.raises(IndexSpaceError, match="choose another folder"):
            builder.join(tmp_path / "of another shape")
        for value in (float("nan"), float("inf"), 7e4):
            with pytest.raises(ValueError, match="nothing was stored"):
                builder.append(torch.full((1, *SHAPE), value), ["a"])
        with pytest.raises(ValueError, match="as many names"):
            builder.append(torch.zeros(2, *SHAPE), ["a"])
    assert content(folder) == before
    for space, shape in (("", SHAPE), (SPACE, ()), (SPACE, (0,))):
        with pytest.raises(ValueError, match="needs a space and a shape"):
            IndexBuilder(tmp_path / "new", space, shape)
    with pytest.raises(ProtectedIndexError, match="There is no protected index"):
        ProtectedIndex.open(tmp_path / "nowhere")
    with IndexBuilder(tmp_path / "begun", SPACE, SHAPE) as builder:
        builder.append(torch.zeros(1, *SHAPE), ["a"])
    with pytest.raises(IndexSpaceError, match="A build of latent:SD3"):
        IndexBuilder(tmp_path / "begun", "latent:Flux", SHAPE)
