"""``bench growth``: one row for each kind and size of bank."""

from __future__ import annotations

import argparse

import pytest
from diversity_guidance.benchmarks import growth


def arguments(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    growth.add_arguments(parser)
    return parser.parse_args(given)


def test_every_size_has_a_row(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(growth, "STEPS", 4)
    assert growth.run(arguments("--sizes", "2", "3", "--repeats", "1")) == 0
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[:2] for row in rows] == [[kind, size] for kind in growth.KINDS for size in ("2", "3")]
    assert [row[4] for row in rows if row[1] == "2"] == ["1.00", "1.00"]
    assert all(float(row[3]) > 0 for row in rows)


def test_numbers_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        growth.run(arguments("--sizes", "0"))
