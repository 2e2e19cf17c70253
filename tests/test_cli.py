"""The command line: the chosen command alone is imported, and bad input ends in a sentence."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from diversity_guidance import __version__, cli
from diversity_guidance.benchmarks import repellency
from PIL import Image
from project.tree import ROOT


class Command(ModuleType):
    """A command that remembers what it was run with."""

    def __init__(self, name: str, outcome: int | Exception = 0) -> None:
        super().__init__(name)
        self.outcome = outcome
        self.ran: argparse.Namespace | None = None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--count", type=int, default=8)

    def run(self, arguments: argparse.Namespace) -> int:
        self.ran = arguments
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def install(monkeypatch: pytest.MonkeyPatch, outcome: int | Exception = 0) -> Command:
    command = Command("diversity_guidance.toy", outcome)
    monkeypatch.setitem(sys.modules, command.__name__, command)
    commands = {"toy": ("toy", "what the toy does"), "other": ("nowhere", "is never imported")}
    monkeypatch.setattr(cli, "COMMANDS", commands)
    return command


@pytest.mark.parametrize("code", [0, 3])
def test_a_command_runs_with_its_arguments(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    command = install(monkeypatch, code)
    assert cli.main(["toy", "--count", "3"]) == code
    assert command.ran is not None and command.ran.count == 3


def test_arguments_come_from_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    command = install(monkeypatch)
    monkeypatch.setattr(sys, "argv", ["diversity-guidance", "toy"])
    assert cli.main() == 0
    assert command.ran is not None and command.ran.count == 8


@pytest.mark.parametrize("error", [ValueError("Say what to do."), FileNotFoundError("No such folder.")])
def test_bad_input_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    install(monkeypatch, error)
    assert cli.main(["toy"]) == 2
    assert capsys.readouterr().err == f"diversity-guidance toy: {error}\n"


def test_a_mistake_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, TypeError("ours"))
    with pytest.raises(TypeError, match="ours"):
        cli.main(["toy"])
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        cli.main(["other"])


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    install(monkeypatch)

    def missing(name: str, package: str | None) -> ModuleType:
        raise ModuleNotFoundError("No module named 'diffusers'", name="diffusers")

    monkeypatch.setattr(cli, "import_module", missing)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["toy"])
    assert stopped.value.code == 2
    assert 'diffusers is not installed: pip install "diversity-guidance[demo]"' in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["nothing"], ["toy", "--unknown"], ["toy", "--count", "many"]])
def test_wrong_words(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    install(monkeypatch)
    with pytest.raises(SystemExit) as stopped:
        cli.main(words)
    assert stopped.value.code == 2


def test_help_answers_without_importing_any_command() -> None:
    program = (
        "import sys\nfrom diversity_guidance import cli\n"
        "try:\n    cli.main(['--help'])\nexcept SystemExit as stopped:\n    assert stopped.code == 0\n"
        "assert 'torch' not in sys.modules and 'comfy' not in sys.modules"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert all(name in result.stdout for name in cli.COMMANDS)
    assert "bench  " in result.stdout


@pytest.mark.parametrize(
    "how", [["-m", "diversity_guidance"], ["-m", "diversity_guidance.cli"], ["pack folder/cli.py"]]
)
def test_every_way_to_start(tmp_path: Path, how: list[str]) -> None:
    """In a pack's folder nothing is installed, and the folder has a name of its own."""
    environment = dict(os.environ)
    if how[0] != "-m":
        environment.pop("PYTHONPATH", None)
        (tmp_path / "pack folder").symlink_to(ROOT, target_is_directory=True)
    start = [sys.executable, *how]
    result = subprocess.run([*start, "--version"], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert (result.returncode, result.stdout) == (0, f"diversity-guidance {__version__}\n"), result.stderr
    result = subprocess.run([*start, "report", "none"], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert (result.returncode, result.stderr) == (2, "diversity-guidance report: There is no folder none.\n")


def test_a_console_that_cannot_show_a_name(tmp_path: Path) -> None:
    """And the files that were asked for are written, whatever can be shown."""
    folder = tmp_path / "images"
    folder.mkdir()
    for seed, name in enumerate(["a.png", "壊れた.png", os.fsdecode(b"caf\xe9.png")]):
        levels = np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8)
        with (folder / name).open("wb") as file:
            Image.fromarray(levels).save(file, "PNG")
    (folder / "空.png").touch()
    words = ["report", str(folder), "--space", "layout", "--json", "--html", "--csv", "--output", str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "diversity_guidance", *words]
    result = subprocess.run(command, capture_output=True, encoding="cp1252", env=environment)
    assert result.returncode == 0, result.stderr
    assert "4 of 4 images" in result.stderr
    assert "\\u7a7a.png: cannot identify image file" in result.stdout
    content = json.loads((tmp_path / "out/diversity-report.json").read_text(encoding="utf-8"))
    assert content["files"] == ["a.png", "caf\\udce9.png", "壊れた.png", "空.png"]
    assert "壊れた.png" in (tmp_path / "out/diversity-report.html").read_text(encoding="utf-8")


def test_a_small_benchmark(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(repellency, "METHODS", {"sparse contacts": repellency.METHODS["sparse contacts"]})
    monkeypatch.setattr(repellency, "STORED", {"float16": torch.float16})
    assert cli.main(["bench", "repellency", "--references", "64", "--dimensions", "1024", "--repeats", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("| 64 | 1,024 | float16 | sparse contacts | 0.")


@pytest.mark.parametrize("stored", list(repellency.STORED))
def test_the_methods_of_the_benchmark_agree(stored: str) -> None:
    points, latents = torch.randn(8, 1024), torch.randn(64, 1024).to(repellency.STORED[stored])
    latents[::8] = points
    latents[::8] += 0.1
    bank = repellency.prepared(latents, points)
    expected = repellency.published(points, bank)
    torch.testing.assert_close(repellency.METHODS["sparse contacts"](points, bank), expected, rtol=1e-3, atol=1e-3)
    assert expected.any()
    total = float(latents.float().sum())
    assert float(repellency.read_bank(points, bank)) == pytest.approx(total, abs=0.1)


@pytest.mark.parametrize("words", [["--references", "0"], ["--dimensions", "-4"], ["--repeats", "0"]])
def test_a_benchmark_of_nothing(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert cli.main(["bench", "repellency", *words]) == 2
    assert "at least 1" in capsys.readouterr().err
