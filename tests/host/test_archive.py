"""What the Comfy registry installs: an archive without benchmarks, judge and real images, in a folder of any name."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from project.tree import ROOT, archive_files
from support.bare_python import bare_environment, bare_python
from support.graphs import Drawing, latents_of
from support.host_checkouts import checkout
from support.host_server import HostServer
from support.node_ids import node_classes

LEFT_OUT = ("tests/", "docs/", "benchmarks/", "embedded/training/", "embedded/assets/judge.", "embedded/assets/reals.")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base folder of the host with the archive in custom_nodes, as a copy."""
    folder = tmp_path_factory.mktemp("host")
    for path in archive_files():
        copy = folder / "custom_nodes" / "Diversity Guidance" / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return folder


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def command(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """The command line of the pack's folder, from which nothing is installed."""
    python = bare_python(tmp_path_factory.mktemp("python"))
    program = base / "custom_nodes" / "Diversity Guidance" / "cli.py"

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([python, program, *words], env=bare_environment(), capture_output=True, text=True)

    return run


def test_the_archive_leaves_out_what_no_node_needs() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in archive_files()}
    assert [name for name in names if name.startswith(LEFT_OUT)] == []
    everything = {path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if path.is_file()}
    for part in LEFT_OUT:
        assert [name for name in everything if name.startswith(part)], f"there is no {part}"
    for kept in (
        "nodes/",
        "web/docs/",
        "web/js/",
        "example_workflows/",
        "subgraphs/",
        "demo/",
        "embedded/assets/turbo_lora",
    ):
        assert [name for name in names if name.startswith(kept)], f"{kept} is left out"
    assert sum(path.stat().st_size for path in archive_files()) < 46_000_000, (
        "its largest parts are the weights of six networks"
    )


def test_a_host_loads_the_archive_and_samples(base: Path) -> None:
    with HostServer(checkout(0), base, linked=False) as server:
        server.wait_until_ready()
        assert server.client.object_info().keys() >= node_classes().keys(), server.log[-5000:]
        graph = Drawing()
        saved = graph.latents(graph.sample(graph.repel(), batch=2))
        latents = latents_of(server.client, server.client.run(graph.prompt), saved)
    assert len(latents) == 2


def test_the_demo_does_without_the_judge(command: Command, tmp_path: Path) -> None:
    words = ["--model", "turbo", "--steps", "1", "--count", "2", "--batches", "1", "--output", str(tmp_path / "out")]
    done = command("demo", *words)
    assert done.returncode == 0, done.stderr
    assert "Modes and fidelity are not measured. The embedded model's file judge.safetensors is missing." in done.stdout
    assert "Vendi Score" in done.stdout and "known modes" not in done.stdout
    assert (tmp_path / "out" / "before_after.png").is_file()


def test_a_command_that_is_left_out_says_so(command: Command) -> None:
    done = command("bench", "--help")
    assert (done.returncode, done.stderr) == (
        2,
        "The archive of the Comfy registry has no benchmarks: clone the repository.\n",
    )
