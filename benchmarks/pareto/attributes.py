"""``diversity-guidance bench attributes``: whether attributes that a prompt names stay while the rest varies.

A method that raises variety may change attributes that the prompt fixes. Every prompt names a gender, a skin tone or a
vendor; the judge counts the images that keep each, and the modes reached of those that the prompt leaves open.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from torch import Tensor

from ...embedded.judge import Judge
from ...embedded.reals import Mode
from ..prompts import read_prompts
from ..summary import markdown_table
from .rows import Row, Setting, rows
from .run import FIRST_SEED, add_sampling_arguments, wanted

PROMPTS = Path(__file__).parents[1] / "prompts_attributes.txt"
ROWS = ("with prompt easing", "CFG 0 on the first step")


@dataclass(frozen=True)
class Kept:
    """Attributes of the images of one prompt and seed.

    Attributes:
        shares: fraction of images with the attribute that the prompt names, by attribute.
        modes: known modes that faithful images reach, of those that the prompt leaves open.
    """

    shares: dict[str, float]
    modes: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    add_sampling_arguments(parser, PROMPTS, ROWS)


def run(arguments: argparse.Namespace) -> int:
    """Measure the rows and print the table.

    Raises:
        ValueError: there is no such file of prompts, no row of that name, or a prompt that no real image matches or
            that names no attribute.
    """
    setting = Setting.load(arguments.model == "turbo")
    judge, prompts = Judge.load(), read_prompts(arguments.prompts)
    for prompt in prompts:
        named(judge, prompt)
    lines = []
    for row in wanted(rows(distilled=setting.cfg == 1), arguments.rows):
        found = measure(row, setting, judge, prompts, arguments.seeds, arguments.count)
        shares = ([each.shares[name] for each in found if name in each.shares] for name in Mode._fields)
        columns = (f"{mean(share):.3f}" if share else "" for share in shares)
        lines.append((row.name, *columns, f"{mean(each.modes for each in found):.2f}"))
    sys.stdout.write(markdown_table(("row", *Mode._fields, "modes left open"), lines) + "\n")
    return 0


def measure(row: Row, setting: Setting, judge: Judge, prompts: Sequence[str], seeds: int, count: int) -> list[Kept]:
    """The attributes of ``count`` images of every prompt and seed."""
    return [
        kept(judge, setting.model.decode(row.sample(setting, prompt, FIRST_SEED + 400 * number + place, count)), prompt)
        for number in range(seeds)
        for place, prompt in enumerate(prompts)
    ]


def kept(judge: Judge, images: Tensor, prompt: str) -> Kept:
    """The attributes of images (B, 3, 64, 64) in 0..1 of a prompt."""
    logits = judge.network(images)
    shares = {}
    for name, value in named(judge, prompt).items():
        place = judge.network.classes[name].index(value)
        shares[name] = float((logits[name].argmax(1) == place).float().mean())
    return Kept(shares, judge.coverage(judge.judge(images, prompt), prompt).reached)


def named(judge: Judge, prompt: str) -> dict[str, str]:
    """The attributes that a prompt names, and their values.

    Raises:
        ValueError: it names none, or no real image matches it.
    """
    words = set(prompt.lower().replace("-", " ").split())
    # By the real images, as "medium dark skin" contains the words of "dark skin".
    values = {name: {getattr(mode, name) for mode in judge.reals.modes(prompt)} for name in Mode._fields}
    found = {name: only for name, (only, *others) in values.items() if not others and {*only.split("-")} & words}
    if not found:
        raise ValueError(f'"{prompt}" names no gender, skin tone or vendor: add one of them.')
    return found
