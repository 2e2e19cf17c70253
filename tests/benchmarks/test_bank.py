"""``bench bank``: a column for each size of bank, and a row for each thing that a queue does with it."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
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
    first, _, *rows = capsys.readouterr().out.splitlines()
    assert first == "| what | 4 images | 12 images | ratio |"
    names = [row.strip("| ").split(" | ")[0] for row in rows]
    assert {"open (ms)", "a step (ms)", "append (ms)", "memory gained over 3 queues (MB)"} <= set(names)
    assert list(tmp_path.iterdir()) == []


def test_numbers_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        bank.run(arguments("--sizes", "0"))
