"""``diversity-guidance index`` on real folders: build, add, remove, look, verify, compare, and bad input."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diversity_guidance.cli import main
from diversity_guidance.embedded.latent_space import LATENT_FORMAT, autoencoder_fingerprint
from diversity_guidance.stores.protected.index import ProtectedIndex
from diversity_guidance.stores.protected.spaces import latent_space
from PIL import Image, ImageEnhance
from safetensors.torch import save_file

from .conftest import draw


@pytest.fixture
def index(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """An index of the colour layout of the pictures."""
    folder = tmp_path / "index"
    assert main(["index", "build", str(folder), str(pictures), "--space", "layout", "--batch", "3"]) == 0
    printed = capsys.readouterr()
    assert "10 images were added, 1 were known: 10 are protected. 2 could not be read." in printed.out
    assert "cats/broken.jpg: cannot identify" in printed.out
    assert "13 of 13 items" in printed.err
    return folder


def test_info_and_verify(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", "info", str(index), "--names"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("10 references: features of colour-layout")
    assert "\ncats/1.png\n" in printed
    assert main(["index", "verify", str(index)]) == 0
    assert "All 10 references are what was written." in capsys.readouterr().out


def test_damage_is_named(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = next(index.rglob("*.f16"))
    data = bytearray(rows.read_bytes())
    data[40] ^= 1
    rows.write_bytes(data)
    assert main(["index", "verify", str(index)]) == 1
    assert rows.name in capsys.readouterr().out


def test_add_and_remove(index: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw(pictures / "new.png", 77)
    assert main(["index", "add", str(index), str(pictures), "--space", "layout"]) == 0
    assert "1 images were added, 11 were known: 11 are protected." in capsys.readouterr().out
    assert main(["index", "remove", str(index), "new.png", "cats/1.png"]) == 0
    assert "2 removed, 9 are protected." in capsys.readouterr().out
    assert main(["index", "remove", str(index), "new.png"]) == 2
    assert "nothing was removed" in capsys.readouterr().err


def test_nearest(index: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw(tmp_path / "drawn/a little like 4.png", 4, (30, 25))
    with Image.open(tmp_path / "drawn/a little like 4.png") as image:
        ImageEnhance.Brightness(image).enhance(0.7).save(tmp_path / "drawn/a little like 4.png")
    shutil.copy(pictures / "cats/1.png", tmp_path / "drawn/copy.png")
    (tmp_path / "drawn/broken.png").write_bytes(b"x")
    assert main(["index", "nearest", str(index), str(tmp_path / "drawn"), "--space", "layout"]) == 0
    *head, copy, alike, broken, last = capsys.readouterr().out.splitlines()
    assert head[0] == (
        "# Distances between features of colour-layout-v1:8: 0 for the same image, about 1.41 for unrelated ones."
    )
    assert head[1] == "# Nearest first. NEAR is below 0.06 (near-duplicates)."
    assert copy.split("\t")[1:] == ["copy.png", "cats/1.png", "NEAR"] and float(copy.split("\t")[0]) < 0.01
    assert alike.split("\t")[1:3] == ["a little like 4.png", "dogs/4.png"]
    assert broken.startswith("nan\tbroken.png\tcannot identify")
    assert last == "# 1 of 2 images are NEAR."
    within = ["--space", "layout", "--within"]
    assert main(["index", "nearest", str(index), str(tmp_path / "drawn"), *within, "0.9"]) == 0
    assert capsys.readouterr().out.endswith("# 2 of 2 images are NEAR.\n")
    assert main(["index", "nearest", str(index), str(tmp_path / "drawn"), *within, "-1"]) == 2
    assert "must not be negative" in capsys.readouterr().err
    assert main(["index", "nearest", str(index), str(tmp_path / "drawn"), "--space", "random"]) == 2
    assert "choose the space and size with which it was built" in capsys.readouterr().err


def test_through_the_embedded_autoencoder(pictures: Path, tmp_path: Path) -> None:
    assert main(["index", "build", str(tmp_path / "index"), str(pictures)]) == 0
    index = ProtectedIndex.open(tmp_path / "index")
    space = latent_space(LATENT_FORMAT, autoencoder_fingerprint())
    assert (index.space, index.shape, len(index)) == (space, (16, 8, 8), 10)


class TestLatents:
    """Latents of files, checked before they are protected."""

    def build(self, folder: Path, *options: str) -> int:
        source = str(folder / "latents")
        return main(["index", "build", str(folder / "index"), source, "--latents", "Flux", *options])

    def save(self, folder: Path, **files: torch.Tensor) -> None:
        (folder / "latents").mkdir(exist_ok=True)
        for name, latents in files.items():
            save_file({"latents": latents}, folder / "latents" / f"{name}.safetensors")

    def test_what_is_there(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        latents = torch.randn((5, 16, 4, 4), generator=torch.Generator().manual_seed(0))
        self.save(tmp_path, a=latents[:3], b=torch.cat([latents[2:], latents[:1]]).to(torch.bfloat16))
        assert self.build(tmp_path) == 0
        assert "protected" in capsys.readouterr().out
        index = ProtectedIndex.open(tmp_path / "index")
        assert (index.space, index.shape) == ("latent:Flux", (16, 4, 4))
        assert index.name(1) == "a.safetensors:1"
        assert torch.equal(index.sample(7)[:3], latents[:3].half().float())

    def test_numbers_that_are_none(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        latents = torch.zeros(3, 16, 4, 4)
        latents[1, 0, 0, 0] = torch.nan
        self.save(tmp_path, a=latents)
        assert self.build(tmp_path) == 2
        assert "a.safetensors:1 holds NaN or infinite values" in capsys.readouterr().err
        assert not (tmp_path / "index/manifest.json").exists()

    def test_shapes_that_differ(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.save(tmp_path, a=torch.ones(3, 16, 4, 4), b=torch.ones(3, 16, 4, 8))
        assert self.build(tmp_path) == 2
        assert "give those of one size" in capsys.readouterr().err

    @pytest.mark.parametrize("options", [[], ["--key", "other"]])
    def test_which_tensor(self, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
        (tmp_path / "latents").mkdir()
        tensors = {"one": torch.ones(2, 16, 4, 4), "two": torch.ones(2)}
        save_file(tensors, tmp_path / "latents/a.safetensors")
        assert self.build(tmp_path, *options) == 2
        assert "holds one, two: name one of these tensors with --key" in capsys.readouterr().err
        assert self.build(tmp_path, "--key", "two") == 2
        assert "are no Flux latents: give them the shape (N, 16, H, W)" in capsys.readouterr().err
        assert self.build(tmp_path, "--key", "one") == 0

    @pytest.mark.parametrize(
        ("latent_format", "saved", "kept"),
        [
            ("Wan21", (16, 1, 8, 8), (16, 1, 8, 8)),
            ("Wan21", (1, 16, 1, 8, 8), (16, 1, 8, 8)),
            ("Wan21", (1, 16, 8, 8), (16, 1, 8, 8)),
            ("Flux", (16, 8, 8), (16, 8, 8)),
            (LATENT_FORMAT, (1, 16, 8, 8), (16, 8, 8)),
            ("SD15", (1, 4, 8, 8), (4, 8, 8)),
        ],
    )
    def test_one_latent_to_a_file_with_and_without_a_batch_axis(
        self, tmp_path: Path, latent_format: str, saved: tuple[int, ...], kept: tuple[int, ...]
    ) -> None:
        latents = [torch.randn(saved, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
        self.save(tmp_path, **{f"p{row}": each for row, each in enumerate(latents)})
        assert self.build(tmp_path, "--latents", latent_format) == 0
        index = ProtectedIndex.open(tmp_path / "index")
        assert (len(index), index.shape) == (3, kept)
        expected = torch.stack([each.reshape(kept) for each in latents])
        assert torch.equal(index.sample(3), expected.half().float())

    @pytest.mark.parametrize(
        ("latent_format", "shape", "sentence"),
        [
            ("Wan21", (16, 16, 8, 8), "may be one latent or several"),
            ("SD3", (4, 4, 8, 8), "are no SD3 latents: give them the shape (N, 16, H, W)"),
            ("SD3", (16, 1, 8, 8), "are no SD3 latents"),
            ("SD3", (0, 16, 8, 8), "are no SD3 latents"),
            ("Wan21", (2, 4, 3, 8, 8), "are no Wan21 latents: give them the shape (N, 16, T, H, W)"),
            ("sdxl", (1, 4, 8, 8), "no latent format known here: say SDXL"),
        ],
    )
    def test_shapes_of_another_format(
        self,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        latent_format: str,
        shape: tuple[int, ...],
        sentence: str,
    ) -> None:
        self.save(tmp_path, a=torch.ones(shape))
        assert self.build(tmp_path, "--latents", latent_format) == 2
        assert sentence in capsys.readouterr().err

    def test_old_latent_files_and_endings_in_capitals(self, tmp_path: Path) -> None:
        """As the host's LoadLatent reads them."""
        latents = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(0))
        (tmp_path / "latents").mkdir()
        mark = {"latent_format_version_0": torch.tensor([])}
        save_file({"latent_tensor": latents * 2, **mark}, tmp_path / "latents/a.latent")
        save_file({"latent_tensor": latents * 0.18215}, tmp_path / "latents/b.LATENT")
        save_file({"latent_tensor": latents * 3}, tmp_path / "latents/c.SAFETENSORS")
        assert self.build(tmp_path, "--latents", "SD15") == 0
        stored = ProtectedIndex.open(tmp_path / "index").sample(3)
        torch.testing.assert_close(stored, torch.cat([latents * 2, latents, latents * 3]), rtol=2e-3, atol=1e-4)

    def test_no_safetensors(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "latents").mkdir()
        assert self.build(tmp_path) == 2
        assert "holds no latents" in capsys.readouterr().err
        (tmp_path / "latents/a.safetensors").write_bytes(b"nothing of the kind")
        assert self.build(tmp_path) == 2
        assert "cannot be read as safetensors" in capsys.readouterr().err


def test_names_that_are_not_utf8(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (pictures / os.fsdecode(b"caf\xe9.png")).open("wb") as file:
        file.write((pictures / "cats/1.png").read_bytes() + b"trailing")
    index = tmp_path / "index"
    assert main(["index", "build", str(index), str(pictures), "--space", "layout"]) == 0
    assert main(["index", "nearest", str(index), str(pictures), "--space", "layout"]) == 0
    assert "caf\\udce9.png" in capsys.readouterr().out
    assert main(["index", "remove", str(index), "caf\\udce9.png"]) == 0


def in_a_process(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, which runs some code before."""
    script = f"import sys; from diversity_guidance.cli import main\n{code}\nsys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", script, "index", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)


posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX limits and signals: run it on Linux or macOS")


@posix
@pytest.mark.parametrize("limit", [500, 4000])  # the appended part, the filter
def test_no_space_left(index: Path, pictures: Path, capsys: pytest.CaptureFixture[str], limit: int) -> None:
    before = {path: path.read_bytes() for path in index.rglob("*") if path.is_file()}
    draw(pictures / "new.png", 77)
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
    words = ["add", str(index), str(pictures), "--space", "layout"]
    failed = in_a_process(code, *words)
    assert failed.returncode == 2 and "Traceback" not in failed.stderr
    assert "free some space and run it again. The index stays as it was" in failed.stderr
    assert {path: path.read_bytes() for path in before} == before
    assert main(["index", "verify", str(index)]) == 0
    capsys.readouterr()
    assert main(["index", *words]) == 0
    assert "1 images were added" in capsys.readouterr().out


@posix
def test_a_command_that_is_killed_goes_on(index: Path, pictures: Path, tmp_path: Path) -> None:
    """And encodes nothing again; the index is that of a command that was not."""
    code = (
        "import os, signal\n"
        "from diversity_guidance.indexing import build\n"
        "from diversity_guidance.stores.protected.builder import IndexBuilder\n"
        "build.KEPT_BYTES, append, calls = 1, IndexBuilder.append, []\n"
        "def append_or_die(builder, *given):\n"
        "    append(builder, *given)\n"
        "    calls.append(1)\n"
        "    if len(calls) == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "IndexBuilder.append = append_or_die"
    )
    words = ["build", str(tmp_path / "again"), str(pictures), "--space", "layout", "--batch", "3"]
    assert in_a_process(code, *words).returncode == -signal.SIGKILL
    assert len(list((tmp_path / "again").glob("building-1/*.safetensors"))) == 2
    assert main(["index", "info", words[1]]) == 2
    assert main(["index", *words]) == 0
    assert ProtectedIndex.open(tmp_path / "again").fingerprint() == ProtectedIndex.open(index).fingerprint()


def test_bad_input_ends_in_a_sentence(index: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = str(index.parent / "missing")
    for words, sentence in (
        (["build", str(index), str(pictures)], "say add instead of build"),
        (["add", missing, str(pictures)], "say build instead of add"),
        (["build", missing, missing], "There is no folder"),
        (["build", missing, str(pictures), "--space", "guess"], "is no feature space"),
        (["build", missing, str(pictures), "--size", "0"], "must be at least 1"),
        (["add", str(index), str(pictures)], "choose another folder"),
        (["info", missing], "There is no protected index"),
        (["verify", missing], "There is no protected index"),
    ):
        assert main(["index", *words]) == 2
        assert sentence in capsys.readouterr().err
    assert len(ProtectedIndex.open(index)) == 10


def test_a_newer_manifest_is_refused(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from diversity_guidance.stores.protected.checksummed_json import read_checksummed, write_checksummed

    manifest = index / "manifest.json"
    write_checksummed(manifest, {**read_checksummed(manifest), "version": 99})
    before = manifest.read_bytes()
    source = str(index.parent / "pictures")
    for words in (
        ["info"],
        ["verify"],
        ["add", source, "--space", "layout"],
        ["remove", "cats/1.png"],
        ["nearest", source],
    ):
        assert main(["index", words[0], str(index), *words[1:]]) == 2
        assert "newer version" in capsys.readouterr().err
    assert manifest.read_bytes() == before
