"""The Protected Index on real sampling runs, and the benchmark's images."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from diversity_guidance.benchmarks.index.images import LatentFolder, RawEncoder, augmented
from diversity_guidance.benchmarks.index.runs import Runs
from diversity_guidance.benchmarks.index.searches import Case, build_exact
from diversity_guidance.cli import main
from diversity_guidance.embedded.autoencoder import load_autoencoder
from diversity_guidance.embedded.reals import RealImages
from diversity_guidance.stores.protected.builder import IndexBuilder
from diversity_guidance.stores.protected.index import ProtectedIndex
from diversity_guidance.stores.protected.search.neighbour_list import NeighbourList
from support.index_data import build, exact_distances
from support.missing import library

IMAGES = 400


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with latents of the first images."""
    folder = tmp_path_factory.mktemp("bench")
    latents = LatentFolder(folder / "latents", 64, IMAGES, part=IMAGES)
    assert list(latents.make()) == [IMAGES]
    return folder


def test_no_step_of_a_sampling_run_skips_a_search_that_is_needed(folder: Path) -> None:
    (part,) = LatentFolder(folder / "latents", 64, IMAGES, part=IMAGES).parts()
    vectors = torch.tensor(part).float().flatten(1)
    estimates = Runs.sampled(folder, 64, 2, 12, 4, 5.0).estimates
    index = build(folder / "index", vectors, shape=(16, 8, 8), shard_bytes=1 << 17)
    for run in estimates:
        listed = NeighbourList(index)
        for points in run:
            distances = exact_distances(points, vectors)
            # A radius that many estimates are just inside or just outside of.
            radius = float(distances.amin(1).median())
            hits = listed.within(points, radius)
            found = torch.zeros_like(distances, dtype=torch.bool)
            found[hits.rows, hits.references] = True
            assert found[distances < radius].all() and (distances[found] < radius * (1 + 3e-6)).all()
        assert listed.skipped > 0


def test_the_quick_encoder_gives_the_embedded_encoders_latents() -> None:
    images = RealImages.load().images(torch.arange(6))
    torch.testing.assert_close(
        RawEncoder(torch.float32)(images), load_autoencoder().encode(images), rtol=1e-4, atol=1e-5
    )


def test_images_come_again_changed(folder: Path) -> None:
    images = RealImages.load()
    count = len(images.labels)
    numbers = torch.tensor([5, 5 + count, 5 + 2 * count])
    first, second, third = augmented(images, numbers, 64, torch.Generator().manual_seed(0))
    torch.testing.assert_close(first, images.images(numbers[:1])[0], rtol=0, atol=1e-5)
    assert not torch.equal(second, first) and not torch.equal(second, third)
    large = augmented(images, numbers, 128, torch.Generator().manual_seed(0))
    assert large.shape == (3, 3, 128, 128) and float(large.min()) >= 0 and float(large.max()) <= 1


def test_making_goes_on_where_it_stopped(folder: Path, tmp_path: Path) -> None:
    small = LatentFolder(tmp_path, 256, 7, part=64)
    stopped = small.make()
    assert small.part_rows == 4 and next(stopped) == 4
    stopped.close()
    before = (tmp_path / "256px-00000.npy").stat().st_mtime_ns
    assert list(small.make()) == [4, 7]
    assert (tmp_path / "256px-00000.npy").stat().st_mtime_ns == before
    assert [part.shape for part in small.parts()] == [(4, 16, 32, 32), (3, 16, 32, 32)]
    with pytest.raises(ValueError, match="--make"):
        list(LatentFolder(tmp_path, 256, 20, part=64).parts())


def test_latents_beyond_the_encoded_ones_are_made_from_theirs(tmp_path: Path) -> None:
    latents = LatentFolder(tmp_path, 64, 48, part=16, encoded=10)
    assert list(latents.make()) == [16, 32, 48]
    first, second, third = (torch.tensor(part).float() for part in latents.parts())
    assert first.shape == second.shape and not torch.equal(second, third)
    for made in (second, third):
        # Moved, mirrored and scaled by at most 15 %, and mostly nearest to their own image.
        for latent, source in zip(made, first, strict=True):
            assert (latent.abs().amax((1, 2)) <= 1.16 * source.abs().amax((1, 2))).all()
        assert not (made == first).flatten(1).all(1).any()
        near = torch.cdist(made.flatten(1), first.flatten(1)).argmin(1)
        assert int((near == torch.arange(16)).sum()) >= 5


@pytest.fixture
def own_threads() -> Iterator[None]:
    """What the command sets for itself does not stay for other tests."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("own_threads")
def test_the_command_measures_what_was_made(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library("faiss")
    command = ["bench", "index", "--folder", str(tmp_path), "--count", "64", "--runs", "1", "--steps", "2"]
    assert main(command) == 2
    assert "make the latents first, with --make" in capsys.readouterr().err
    shutil.copytree(folder / "latents", tmp_path / "latents")
    assert main([*command, "--make"]) == 0
    assert "64 of 64 latents" in capsys.readouterr().err
    assert main(command) == 0
    opening, _, head, _, *lines = capsys.readouterr().out.splitlines()
    assert opening == "64 references of 1,024 values; 1 of 1 runs of 8 images, 2 steps, CFG 5."
    names = [cell.strip() for cell in head.strip("|").split("|")]
    rows = [dict(zip(names, (cell.strip() for cell in line.strip("|").split("|")), strict=True)) for line in lines]
    exact = [row for row in rows if not row["search"].startswith("IVF")]
    assert [row["caught"] for row in exact] == ["1%", "8%", "50%"]
    assert all(row["recall"] in ("1.0000", "nan") for row in exact) and exact[-1]["recall"] == "1.0000"
    assert {row["search"] for row in rows} >= {"IVF, nprobe 1", "IVF, nprobe 10"} and len(rows) == 3 * 6
    # Eight cells, all of which are searched at nprobe 10.
    assert all(row["recall"] in ("1.0000", "nan") for row in rows if row["search"] == "IVF, nprobe 10")
    assert all(float(row["ms a step"]) > 0 and int(row["disk MB"]) >= 0 for row in rows)


def test_the_command_refuses_counts_below_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--count", "--size", "--runs", "--followed", "--steps"):
        assert main(["bench", "index", "--folder", str(tmp_path / "bench"), option, "0"]) == 2
        assert "must be at least 1" in capsys.readouterr().err
    assert not (tmp_path / "bench").exists()


def test_an_index_whose_build_was_stopped_is_finished(folder: Path) -> None:
    case = Case(str(folder), 64, IMAGES, runs=1, followed=1, steps=1, cfg=1.0)
    (part,) = case.references.parts()
    path = folder / f"index-64px-{IMAGES}"
    with IndexBuilder(path, "latent:SD3", case.references.shape) as builder:
        builder.append(torch.tensor(part[:150]), [str(number) for number in range(150)])
    build_exact(case)
    index = ProtectedIndex.open(path)
    assert [index.name(number) for number in range(len(index))] == [str(number) for number in range(IMAGES)]
    assert torch.equal(index.sample(IMAGES), torch.tensor(part).float())


def test_larger_runs_are_the_same_images_enlarged(tmp_path: Path) -> None:
    small, large = (Runs.sampled(tmp_path, size, 1, 4, 2, 5.0) for size in (64, 128))
    assert large.estimates.shape == (1, 4, 2, 16 * 16 * 16)
    autoencoder = load_autoencoder()
    images = autoencoder.decode(small.finals.view(2, 16, 8, 8))
    enlarged = autoencoder.decode(large.finals.view(2, 16, 16, 16))
    shrunk = torch.nn.functional.avg_pool2d(enlarged, 2)
    # Encoding and decoding blurs a little; another image would differ by about 0.3.
    assert float((shrunk - images).square().mean().sqrt()) < 0.1
