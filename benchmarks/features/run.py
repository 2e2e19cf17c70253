"""``diversity-guidance bench features``: Feature Guidance on the embedded model, with quality and fidelity beside it.

Towards: the fraction of images that belong to a group, by the judge, if activations are guided to the centroid of eight
real images of it, beside that of a prompt that names the group. Path: images of blends between two centroids.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ...embedded.judge import Judge
from ...embedded.model import EmbeddedModel
from ...embedded.schedule import sigma_at_percent
from ...guidance.activations.guidance import FeatureGuidance
from ...guidance.activations.settings import RECOMMENDED_END, RECOMMENDED_STRENGTH, FeatureSettings
from ...guidance.limits import SigmaInterval
from ...metrics.figures.canvas import (
    INK,
    letters,
    sheet,
    tile,
    to_pil,
)
from ...stores.centroid.blend import blended
from ...stores.centroid.centroid import FeatureCentroid
from ..summary import first_seeds
from .rows import (
    Result,
    Row,
    as_markdown,
    judged,
    read_results,
    write_results,
)
from .steering import (
    every_layer,
    own_samples,
    probe,
    steered,
)

EXEMPLARS = 8
"""Largest number of real images of a group."""

REFERENCES = 16
REFERENCE_SEED = 77
GROUPS = (
    ("doctor", "woman"),
    ("doctor", "dark-skin"),
    ("doctor", "light-skin"),
    ("running", "woman"),
    ("running", "dark-skin"),
    ("farmer", "medium-skin"),
    ("police officer", "google"),
    ("astronaut", "twitter"),
)
"""Prompts, and a word for the group that the exemplars belong to: a gender, skin tones and both vendors."""

TOWARDS = (1.0, RECOMMENDED_STRENGTH)
"""Strengths: to the centroid itself, and the recommended one."""

PATH = ("doctor", "man", "woman")
PATH_STEPS = 5
PATH_COLUMNS = 8
WINDOW = SigmaInterval(low=sigma_at_percent(RECOMMENDED_END))


def all_rows() -> list[Row]:
    """All rows, in order."""
    rows = []
    for prompt, group in GROUPS:
        rows += [Row(prompt, group, "none"), Row(prompt, group, "named")]
        rows += [Row(prompt, group, "towards", strength) for strength in TOWARDS]
    return rows


class Bench:
    """Samples rows and judges them.

    Args:
        count: images a batch.
        seeds: number of batches of every row and prompt.
        steps: evaluations of the model.
        cfg: scale of classifier-free guidance.
    """

    def __init__(self, count: int, seeds: int, steps: int, cfg: float) -> None:
        self.model, self.judge = EmbeddedModel.load(), Judge.load()
        self.count, self.steps, self.cfg = count, steps, cfg
        self.seeds = first_seeds(seeds)
        self.centroid, self.reference = cache(self._centroid), cache(self._reference)

    def measure(self, row: Row) -> Result:
        """Draw the batches of a row and judge them."""
        told = f"{row.prompt} {row.group}" if row.how == "named" else row.prompt
        batches = [self.sampled(told, seed, self.guidance(row)) for seed in self.seeds]
        return judged(self.judge, row, [self.judge.judge(batch, row.prompt) for batch in batches])

    def guidance(self, row: Row) -> FeatureGuidance | None:
        """The guidance of a row, if it has one."""
        if row.how != "towards":
            return None
        settings = FeatureSettings("towards", row.strength, WINDOW)
        return self._guidance(settings, self.centroid(row.prompt, row.group), self.reference(row.prompt))

    def path(self) -> tuple[Image.Image, list[list[float]]]:
        """Images of blends between two groups, one row per blend, and the fractions of both groups in each row."""
        prompt, *groups = PATH
        ends = [self.centroid(prompt, group) for group in groups]
        rows, shares = [], []
        for step in range(PATH_STEPS):
            place = step / (PATH_STEPS - 1)
            centroid = blended(ends, [1 - place, place], f"{place:.0%}")
            settings = FeatureSettings("towards", RECOMMENDED_STRENGTH, WINDOW)
            guidance = self._guidance(settings, centroid, self.reference(prompt))
            images = self.sampled(prompt, self.seeds[0], guidance)
            modes = [verdict.mode for verdict in self.judge.judge(images, prompt)]
            shares.append([sum(group in mode for mode in modes) / len(modes) for group in groups])
            rows.append(images[:PATH_COLUMNS])
        return path_image(rows, groups), shares

    def sampled(self, prompt: str, seed: int, guidance: FeatureGuidance | None) -> Tensor:
        """One batch of images, (count, 3, 64, 64)."""
        prompts = [prompt] * self.count
        if guidance is None:
            return self.model.decode(self.model.sample(prompts, seed, steps=self.steps, cfg=self.cfg))
        with steered(self.model, guidance) as model:
            latents = model.sample(prompts, seed, steps=self.steps, cfg=self.cfg, guidance=guidance)
        return self.model.decode(latents)

    def _centroid(self, prompt: str, group: str) -> FeatureCentroid:
        """The centroid of real images of a group, under the prompt alone."""
        matching = self.judge.reals.matching(f"{prompt} {group}")
        order = torch.randperm(len(matching), generator=torch.Generator().manual_seed(1))[:EXEMPLARS]
        with torch.no_grad():
            latents = self.model.autoencoder.encode(self.judge.reals.images(matching[order]))
        return probe(self.model, [prompt] * len(latents), latents, group)

    def _reference(self, prompt: str) -> FeatureCentroid:
        """The centroid of the model's own samples of the prompt at CFG 1."""
        return own_samples(self.model, prompt, REFERENCES, REFERENCE_SEED, self.steps)

    def _guidance(self, settings: FeatureSettings, *centroids: FeatureCentroid) -> FeatureGuidance:
        return FeatureGuidance(settings, every_layer(self.model), *centroids)


def path_image(rows: Sequence[Tensor], groups: Sequence[str], side: int = 80) -> Image.Image:
    """One row of images per blend, labelled at its left."""
    margin, line = 120, 24
    page, draw = sheet(margin + side * len(rows[0]), line + side * len(rows))
    font = letters(512, 12)
    draw.text((6, 4), f"from {groups[0]} to {groups[1]}; the same noise in every column", font=font, fill=INK)
    for at, row in enumerate(rows):
        top = line + at * side
        draw.text((6, top + side // 2 - 6), f"{at / (len(rows) - 1):.0%} {groups[1]}", font=font, fill=INK)
        for place, image in enumerate(to_pil(row)):
            page.paste(tile(image, side - 2), (margin + place * side, top))
    return page


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--count", type=int, default=16, help="images a batch (default: 16)")
    parser.add_argument("--seeds", type=int, default=3, help="batches a row and prompt (default: 3)")
    parser.add_argument("--steps", type=int, default=24, help="evaluations of the model (default: 24)")
    parser.add_argument("--cfg", type=float, default=2.0, help="classifier-free guidance, 1 for none (default: 2)")
    parser.add_argument(
        "--output",
        type=Path,
        help="folder for numbers and the image of the path; an interrupted benchmark resumes from it",
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure all new rows, then print all rows and the path."""
    numbers = {name: getattr(arguments, name) for name in ("count", "seeds", "steps", "cfg")}
    bench = Bench(**numbers)
    found = read_results(arguments.output, numbers)
    for row in all_rows():
        if row not in found:
            found[row] = bench.measure(row)
            write_results(arguments.output, numbers, found)
            sys.stderr.write(as_markdown({row: found[row]}).splitlines()[-1] + "\n")
    image, shares = bench.path()
    sys.stdout.write(as_markdown({row: found[row] for row in all_rows()}) + "\n")
    sys.stdout.write(f"Shares of {PATH[1]} and {PATH[2]} along the path: {shares}\n")
    if arguments.output is not None:
        image.save(arguments.output / "feature_path.png")
    return 0
