"""The rows of the feature benchmark, and the file in which it goes on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from diversity_guidance.benchmarks.features.rows import (
    Result,
    Row,
    as_markdown,
    judged,
    read_results,
    write_results,
)
from diversity_guidance.benchmarks.features.run import GROUPS, all_rows
from diversity_guidance.embedded.reals import Mode

RESULT = Result(0.9, 0.05, 0.8, 7.5, 0.98, 0.081, 0.92)
CONDITIONS = {"seeds": 3}


def test_every_group_stands_beside_no_guidance_and_a_prompt_that_names_it() -> None:
    rows = all_rows()
    assert len(set(rows)) == len(rows)
    for prompt, group in GROUPS:
        assert {"none", "named", "towards"} == {row.how for row in rows if (row.prompt, row.group) == (prompt, group)}


def test_an_interrupted_benchmark_goes_on(tmp_path: Path) -> None:
    rows = all_rows()[:2]
    assert read_results(None, CONDITIONS) == read_results(tmp_path, CONDITIONS) == {}
    write_results(tmp_path, CONDITIONS, dict.fromkeys(rows, RESULT))
    assert read_results(tmp_path, CONDITIONS) == dict.fromkeys(rows, RESULT)
    with pytest.raises(ValueError, match="choose another folder"):
        read_results(tmp_path, {"seeds": 2})


def test_good_images_are_of_the_group_faithful_and_near_a_real_one() -> None:
    def verdict(skin: str, faithful: bool, rmse: float) -> Any:
        return SimpleNamespace(mode=Mode("woman", skin, "google"), faithful=faithful, rmse=rmse)

    coverage = SimpleNamespace(reached_well=2, fidelity=0.75, rmse=0.1, sharpness=0.9)
    judge: Any = SimpleNamespace(coverage=lambda *_: coverage, reals=SimpleNamespace(quality_limit=0.15))
    batch = [verdict("dark-skin", True, 0.1), verdict("dark-skin", False, 0.1), verdict("dark-skin", True, 0.2)]
    row = Row("doctor", "dark-skin", "towards", 2.0)
    found = judged(judge, row, [[*batch, verdict("light-skin", True, 0.1)]])
    assert (found.share, found.good, found.modes) == (0.75, 0.25, 2)


def test_a_row_of_the_table() -> None:
    text = as_markdown({Row("doctor", "woman", "towards", 2.0): RESULT}).splitlines()
    assert "| doctor | woman | towards, strength 2 | 0.90 ± 0.05 | 0.80 | 7.50 |" in text[2]
