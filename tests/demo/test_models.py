"""``diversity-guidance demo`` on either model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from diversity_guidance import cli


@pytest.mark.parametrize(
    ("options", "steps", "cfg"),
    [
        (["--model", "turbo"], 8, 1.0),
        (["--model", "turbo", "--steps", "2", "--cfg", "1.5"], 2, 1.5),
        (["--steps", "2"], 2, 5.0),
    ],
)
def test_each_model_is_sampled_as_it_is_meant_to_be(tmp_path: Path, options: list[str], steps: int, cfg: float) -> None:
    code = cli.main(["demo", "--count", "2", "--batches", "1", "--output", str(tmp_path), *options])
    request = json.loads((tmp_path / "scores.json").read_text())["request"]
    assert (code, request["steps"], request["cfg"]) == (0, steps, cfg)
    assert (tmp_path / "before_after.png").is_file()


def test_an_unknown_model_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["demo", "--model", "huge"])
    assert "invalid choice: 'huge'" in capsys.readouterr().err
