"""The benchmark of protection: what is drawn is kept, found again and measured without trusting the index."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diversity_guidance.benchmarks.protection import runs as protection_runs
from diversity_guidance.benchmarks.protection.runs import Batch, nearest_protected, training_prompts
from diversity_guidance.cli import main
from diversity_guidance.embedded.reals import RealImages
from diversity_guidance.embedded.transformer import to_model_space
from PIL import Image


def test_prompts_are_those_of_training_images() -> None:
    reals = RealImages.load()
    prompts = training_prompts(reals.labels, 20)
    assert prompts == training_prompts(reals.labels, 20) and len(set(prompts)) > 10
    assert all(len(reals.matching(prompt)) for prompt in prompts)


def test_the_nearest_is_found_by_comparing_with_all() -> None:
    stored = torch.randn((9, 16, 8, 8), generator=torch.Generator().manual_seed(0))
    batch = Batch(stored[[4, 2]] + 0.01, 1.0)
    distances, numbers = nearest_protected([batch], stored.flatten(1))
    assert numbers.tolist() == [4, 2]
    expected = (to_model_space(batch.latents) - to_model_space(stored[[4, 2]])).flatten(1).norm(dim=1)
    torch.testing.assert_close(distances.float(), expected)


def test_a_small_campaign_goes_on_where_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reals = RealImages.load()
    few = RealImages(reals.pixels[::100], reals.labels[::100])
    monkeypatch.setattr(RealImages, "load", classmethod(lambda cls, folder=None: few))
    ways = ["none", "default, ensured"]
    words = [
        "bench",
        "protection",
        "--folder",
        str(tmp_path),
        "--count",
        "8",
        "--share",
        "0.5",
        "--steps",
        "2",
        "--ways",
    ]
    assert main([*words, *ways]) == 0
    table = capsys.readouterr().out
    rows = {line.split(" | ")[0]: line.split(" | ")[1:] for line in table.splitlines()[4:]}
    assert rows["| none"][0] == "50.00%" and rows["| default, ensured"][0] == "0.00%"
    assert float(rows["| default, ensured"][1]) >= 1 - 1e-5
    assert Image.open(tmp_path / "pushed.png").height > 200
    monkeypatch.setattr(protection_runs, "SparseRepellency", None)
    assert main([*words, *ways]) == 0
    assert capsys.readouterr().out == table


@pytest.mark.parametrize("words", [["--count", "7"], ["--share", "0"], ["--share", "1"]])
def test_a_campaign_of_nothing(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert main(["bench", "protection", *words]) == 2
    assert "Sample at least 8 images" in capsys.readouterr().err
