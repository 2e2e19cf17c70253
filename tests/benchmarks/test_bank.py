"""``bench bank``: a column for each size of bank, and a row for each thing that a queue does with it."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch
from diversity_guidance.benchmarks import bank


def arguments(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    bank.add_arguments(parser)
    return parser.parse_args(given)


def test_every_size_has_a_column(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(bank, "SHAPE", (4, 8, 8))
    given = ["--sizes", "4", "12", "--repeats", "2", "--queues", "3", "--batch", "2", "--folder", str(tmp_path)]
    assert bank.run(arguments(*given)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| latents like images | 4 images | 12 images | ratio |"
    noise = lines.index("| latents like noise | 4 images | 12 images | ratio |")
    names = [row.strip("| ").split(" | ")[0] for row in lines[noise + 2 :]]
    assert {"open (ms)", "a step (ms)", "append (ms)", "memory gained over 3 queues (MB)"} <= set(names)
    assert list(tmp_path.iterdir()) == []


def test_numbers_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        bank.run(arguments("--sizes", "0"))


def test_smooth_fields_have_the_variance_and_spectrum_that_are_told() -> None:
    fields = bank.smooth_fields(20, 0)
    assert fields.shape == (20, *bank.SHAPE) and float(fields.square().mean()) == pytest.approx(1, rel=0.1)
    power = torch.fft.fft2(fields).abs().square().mean((0, 1))
    assert float(power[0, 4] / power[0, 8]) == pytest.approx(4, rel=0.4)
