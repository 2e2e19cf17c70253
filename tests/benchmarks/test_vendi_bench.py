"""The benchmark of Vendi Guidance: what it counts for groups, and the charts of its parts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from diversity_guidance.benchmarks.summary import Summary
from diversity_guidance.benchmarks.vendi.charts import write_charts
from diversity_guidance.benchmarks.vendi.groups import GroupShare, group_shares, worst_group
from diversity_guidance.benchmarks.vendi.record import (
    Result,
    identity,
    read_results,
    write_results,
)
from diversity_guidance.benchmarks.vendi.rows import rows
from diversity_guidance.benchmarks.vendi.run import as_markdown
from diversity_guidance.embedded.reals import Mode
from PIL import Image

A, B, C = Mode("", "dark-skin", "google"), Mode("", "light-skin", "google"), Mode("", "light-skin", "twitter")


class Reals:
    """Three modes for any prompt but one, which has one."""

    quality_limit = 0.2

    def modes(self, prompt: str) -> list[Mode]:
        return [A] if prompt == "settled" else [A, B, C]


class Seen(NamedTuple):
    """What is read of a verdict."""

    mode: Mode
    rmse: float = 0.1
    faithful: bool = True


def shares(*batches: tuple[str, Sequence[Seen]]) -> dict[str, GroupShare]:
    return {share.group: share for share in group_shares(batches, Reals())}  # type: ignore[arg-type]


def test_groups_are_counted_by_modes_and_by_images() -> None:
    found = shares(("open", [Seen(A), Seen(A), Seen(B), Seen(C, rmse=0.3)]), ("open", [Seen(C, faithful=False)] * 4))
    assert (found["dark-skin"].reached, found["dark-skin"].known) == (1, 2)
    assert (found["light-skin"].reached, found["light-skin"].known) == (1, 4)
    assert found["twitter"].coverage == 0
    assert found["light-skin"].images == pytest.approx(6 / 8)
    assert worst_group(list(found.values())).group == "twitter"


def test_prompts_that_leave_nothing_open_do_not_count() -> None:
    assert shares(("settled", [Seen(A)])) == {}


GROUPS = tuple(GroupShare("skin", group, 4, 2, 0.5) for group in ("dark-skin", "twitter"))
RESULT = Result(Summary(12.0, 4.0, 0.5, 4.5, 0.9, 0.1, 1.0), 0.8, 0.7, 3.0, GROUPS)


def test_every_row_is_in_the_table_and_in_a_chart(tmp_path: Path) -> None:
    results = [(row, RESULT) for row in rows()]
    assert len(as_markdown(results).splitlines()) == len(results) + 2
    write_charts(results, tmp_path)
    charts = sorted(path.name for path in tmp_path.iterdir())
    assert charts == ["vendi_bias.png", "vendi_exemplars.png", "vendi_frequency.png", "vendi_groups.png"]
    assert all(Image.open(tmp_path / name).width == 1024 for name in charts)


def test_an_interrupted_benchmark_goes_on(tmp_path: Path) -> None:
    conditions = {"count": 12, "seeds": [100, 500]}
    assert read_results(tmp_path, conditions) == {}
    measured = {identity(row): RESULT for row in rows()}
    assert len(measured) == len(rows())
    write_results(tmp_path, conditions, measured)
    assert read_results(tmp_path, conditions) == measured
    with pytest.raises(ValueError, match="choose another folder"):
        read_results(tmp_path, {**conditions, "count": 16})
