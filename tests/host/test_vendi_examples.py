"""The example workflows of Vendi Guidance show what they say."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diversity_guidance.embedded.judge import Coverage, Judge
from support.example_prompts import as_sampled, quick, savers
from support.graphs import pictures_of
from support.host_client import HostClient
from torch import Tensor

SUBJECT, WOMEN = "doctor", "police officer"


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge.load()


def sampled(client: HostClient, title: str, steps: int) -> list[list[Any]]:
    """The images of each saver of a workflow."""
    prompt = quick(client, title, steps)
    run = client.run(prompt)
    return [pictures_of(client, run, saver) for saver in savers(prompt)]


def to_nearest(images: Tensor, exemplars: Tensor) -> float:
    return float(torch.cdist(images.flatten(1), exemplars.flatten(1)).amin(1).mean())


@pytest.mark.parametrize(
    ("title", "subject", "gained"),
    [("Vendi Guidance without and with exemplars", WOMEN, 1), ("Exemplars of one kind only", SUBJECT, 2)],
)
def test_exemplars(client: HostClient, judge: Judge, title: str, subject: str, gained: int) -> None:
    """More modes at equal fidelity, with and without exemplars; with them, images are nearer to one."""
    exemplars, plain, spread_out, near = (as_sampled(images) for images in sampled(client, title, steps=24))
    assert [len(images) for images in (exemplars, plain, spread_out, near)] == [4, 8, 8, 8]

    def coverage(images: Tensor) -> Coverage:
        return judge.coverage(judge.judge(images, subject), subject)

    before, apart, exemplified = coverage(plain), coverage(spread_out), coverage(near)
    assert apart.reached_well >= before.reached_well + 2
    assert exemplified.reached_well >= before.reached_well + gained
    assert min(apart.fidelity, exemplified.fidelity) >= before.fidelity - 1 / 8
    assert to_nearest(near, exemplars) < 0.9 * to_nearest(spread_out, exemplars)
    if subject == WOMEN:

        def women(images: Tensor) -> int:
            return sum(verdict.mode.gender == "woman" for verdict in judge.judge(images, subject))

        assert women(near) >= women(spread_out) + 4


def test_one_memory_for_two_prompts(client: HostClient, judge: Judge) -> None:
    """The same seed gives other images for a prompt that the bank knows."""
    doctors, waves, more_doctors, more_waves = (
        as_sampled(images) for images in sampled(client, "One memory for two prompts", steps=24)
    )
    for prompt, before, after in ((SUBJECT, doctors, more_doctors), ("wave", waves, more_waves)):
        first, second = ([verdict.mode for verdict in judge.judge(images, prompt)] for images in (before, after))
        assert sum(one != other for one, other in zip(first, second, strict=True)) >= 3
        assert len({*first, *second}) >= len(set(first)) + 2
        assert sum(judge.faithful(torch.cat([before, after]), prompt)) >= 7
