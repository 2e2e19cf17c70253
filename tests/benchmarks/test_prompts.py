"""The prompts that no default was tuned on."""

from __future__ import annotations

from pathlib import Path

import pytest
from diversity_guidance.benchmarks.modes import PROMPTS
from diversity_guidance.benchmarks.prompts import read_prompts
from diversity_guidance.embedded.judge import Judge


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge.load()


def concepts(judge: Judge, prompts: list[str]) -> set[str]:
    return {judge.reals.labels[index].concept for prompt in prompts for index in judge.reals.matching(prompt).tolist()}


def test_held_out_prompts_leave_much_open_and_share_no_concept_with_the_tuned_ones(judge: Judge) -> None:
    prompts = read_prompts()
    known = [len(judge.reals.modes(prompt)) for prompt in prompts]
    assert len(set(prompts)) == len(prompts) == 24
    assert min(known) >= 12
    assert sum(known) / len(known) == 25.0
    assert not concepts(judge, prompts) & concepts(judge, list(PROMPTS))


@pytest.mark.parametrize("content", [None, b"\n \n", b"\xff\xfe\x00"])
def test_a_file_without_prompts_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "prompts.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"prompts\.txt"):
        read_prompts(path)
