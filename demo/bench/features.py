"""``diversity-guidance bench features``: Feature Guidance on the embedded model, with quality and fidelity beside it.

Towards: the share of pictures that belong to a group, by the judge, when features are shifted towards the centroid of
eight real pictures of it. Spread: known modes reached when a batch's features are dilated. Path: pictures of blends
between two centroids.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev

import torch
from PIL import Image
from torch import Tensor

from ...guidance.feature_guidance import RECOMMENDED_END, RECOMMENDED_STRENGTH, FeatureGuidance, FeatureSettings
from ...guidance.feature_layers import find_layers
from ...guidance.interval import SigmaInterval
from ...metrics.figures.canvas import INK, letters, sheet, tile, to_images
from ...stores.feature_centroid import FeatureCentroid, blended
from ..feature_steering import probe, steered
from ..judge import Coverage, Judge
from ..pipeline import EmbeddedModel
from ..schedule import sigma_at_percent
from .modes import PROMPTS

EXEMPLARS = 8
"""Real pictures of a group, fewer where there are no more."""

REFERENCES = 16
GROUPS = (("doctor", "woman"), ("doctor", "dark-skin"), ("running", "dark-skin"))
"""Prompts, and a word for the group that the exemplars belong to."""

TOWARDS = (0.5, 1.0)
"""Strengths, as multiples of the recommended one."""

SPREAD = (2.0, 8.0)
PATH = ("doctor", "man", "woman")
PATH_STEPS = 5
WINDOW = SigmaInterval(low=sigma_at_percent(RECOMMENDED_END))


@dataclass(frozen=True)
class Result:
    """Means over the batches of one row.

    Attributes:
        name: of the row.
        strength: of the guidance; 0 for none.
        share: of pictures of the group; 0 where there is none.
        share_spread: standard deviation over the batches.
        modes: modes reached by a faithful picture within the quality limit.
        fidelity: share of pictures that show what the prompt says.
        rmse: distance to the nearest real picture of the prompt.
        sharpness: relative to that picture.
    """

    name: str
    strength: float
    share: float
    share_spread: float
    modes: float
    fidelity: float
    rmse: float
    sharpness: float


class Bench:
    """Draws and judges.

    Args:
        count: pictures a batch.
        seeds: how many batches of every row and prompt.
        steps: evaluations of the model.
        cfg: scale of classifier-free guidance.
    """

    def __init__(self, count: int, seeds: int, steps: int, cfg: float) -> None:
        self.model, self.judge = EmbeddedModel.load(), Judge.load()
        self.count, self.steps, self.cfg = count, steps, cfg
        self.seeds = [100 * (1 + 4 * index) for index in range(seeds)]

    def towards(self, prompt: str, group: str) -> list[Result]:
        """The share of a group without guidance and at every strength."""
        centroid, reference = self.centroid(prompt, group), self.reference(prompt)
        rows = []
        for strength in (0.0, *(factor * RECOMMENDED_STRENGTH for factor in TOWARDS)):
            settings = FeatureSettings("towards", strength, WINDOW)
            batches = [self.drawn(prompt, seed, settings, centroid, reference) for seed in self.seeds]
            rows.append(self.result(f"{prompt}, towards {group}", strength, [prompt] * len(batches), batches, group))
        return rows

    def spread(self) -> list[Result]:
        """Known modes without guidance and at every strength."""
        rows = []
        for strength in (0.0, *SPREAD):
            settings = FeatureSettings("spread", strength, WINDOW)
            pairs = [(prompt, seed + at) for seed in self.seeds for at, prompt in enumerate(PROMPTS)]
            batches = [self.drawn(prompt, seed, settings) for prompt, seed in pairs]
            rows.append(self.result("spread", strength, [prompt for prompt, _ in pairs], batches))
        return rows

    def path(self) -> tuple[Image.Image, list[list[float]]]:
        """Pictures of blends between two groups, one row a blend, and the shares of both groups in each row."""
        prompt, *groups = PATH
        ends, reference = [self.centroid(prompt, group) for group in groups], self.reference(prompt)
        settings = FeatureSettings("towards", RECOMMENDED_STRENGTH, WINDOW)
        rows, shares = [], []
        for step in range(PATH_STEPS):
            place = step / (PATH_STEPS - 1)
            centroid = blended(ends, [1 - place, place], f"{place:.0%}")
            pictures = self.drawn(prompt, self.seeds[0], settings, centroid, reference)
            modes = [verdict.mode for verdict in self.judge.judge(pictures, prompt)]
            shares.append([sum(group in mode for mode in modes) / len(modes) for group in groups])
            rows.append(pictures[:8])
        return path_picture(rows, groups), shares

    def centroid(self, prompt: str, group: str) -> FeatureCentroid:
        """Of real pictures of a group, looked at under the prompt alone."""
        matching = self.judge.reals.matching(f"{prompt} {group}")
        order = torch.randperm(len(matching), generator=torch.Generator().manual_seed(1))[:EXEMPLARS]
        with torch.no_grad():
            latents = self.model.autoencoder.encode(self.judge.reals.images(matching[order]))
        return probe(self.model, [prompt] * len(latents), latents, group)

    def reference(self, prompt: str) -> FeatureCentroid:
        """Of what the model draws for the prompt by itself, at CFG 1."""
        latents = self.model.sample([prompt] * REFERENCES, 77, steps=self.steps, cfg=1.0)
        return probe(self.model, [prompt] * REFERENCES, latents, "reference")

    def drawn(
        self,
        prompt: str,
        seed: int,
        settings: FeatureSettings,
        centroid: FeatureCentroid | None = None,
        reference: FeatureCentroid | None = None,
    ) -> Tensor:
        """One batch of pictures, (count, 3, 64, 64)."""
        weights = {layer.name: 1.0 for layer in find_layers(self.model.transformer)}
        guidance = FeatureGuidance(settings, weights, centroid, reference)
        with steered(self.model, guidance) as model:
            latents = model.sample([prompt] * self.count, seed, steps=self.steps, cfg=self.cfg, guidance=guidance)
        return self.model.decode(latents)

    def result(
        self, name: str, strength: float, prompts: Sequence[str], batches: Sequence[Tensor], group: str = ""
    ) -> Result:
        """Judge the batches of a row."""
        shares, coverages = [], list[Coverage]()
        for prompt, pictures in zip(prompts, batches, strict=True):
            verdicts = self.judge.judge(pictures, prompt)
            shares.append(sum(group in verdict.mode for verdict in verdicts) / len(verdicts) if group else 0.0)
            coverages.append(self.judge.coverage(verdicts, prompt))
        return Result(
            name,
            strength,
            mean(shares),
            stdev(shares) if len(shares) > 1 else 0.0,
            mean(c.reached_well for c in coverages),
            mean(c.fidelity for c in coverages),
            mean(c.rmse for c in coverages),
            mean(c.sharpness for c in coverages),
        )


def as_markdown(results: Sequence[Result]) -> str:
    """The results as a table."""
    lines = [
        "| guidance | strength | share of the group | modes | fidelity | RMSE | sharpness |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in results:
        share = "" if row.name == "spread" else f"{row.share:.2f} ± {row.share_spread:.2f}"
        lines.append(
            f"| {row.name} | {row.strength:g} | {share} | {row.modes:.2f} | {row.fidelity:.3f} | {row.rmse:.4f} | "
            f"{row.sharpness:.2f} |"
        )
    return "\n".join(lines)


def path_picture(rows: Sequence[Tensor], groups: Sequence[str], side: int = 80) -> Image.Image:
    """One row of pictures a blend, with the blend's place at its left."""
    margin, line = 120, 24
    page, draw = sheet(margin + side * len(rows[0]), line + side * len(rows))
    font = letters(512, 12)
    draw.text((6, 4), f"from {groups[0]} to {groups[1]}; the same noise in every column", font=font, fill=INK)
    for at, row in enumerate(rows):
        top = line + at * side
        draw.text((6, top + side // 2 - 6), f"{at / (len(rows) - 1):.0%} {groups[1]}", font=font, fill=INK)
        for place, image in enumerate(to_images(row)):
            page.paste(tile(image, side - 2), (margin + place * side, top))
    return page


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--count", type=int, default=16, help="pictures a batch (default: 16)")
    parser.add_argument("--seeds", type=int, default=2, help="batches a row and prompt (default: 2)")
    parser.add_argument("--steps", type=int, default=24, help="evaluations of the model (default: 24)")
    parser.add_argument("--cfg", type=float, default=2.0, help="classifier-free guidance, 1 for none (default: 2)")
    parser.add_argument("--output", type=Path, help="also write numbers and the picture of the path into this folder")


def run(arguments: argparse.Namespace) -> int:
    """Measure every part and print its rows as they come."""
    bench = Bench(arguments.count, arguments.seeds, arguments.steps, arguments.cfg)
    results: list[Result] = []
    for rows in (*(lambda case=case: bench.towards(*case) for case in GROUPS), bench.spread):
        results += rows()
        sys.stderr.write(as_markdown(results[-len(TOWARDS) - 1 :]) + "\n")
    picture, shares = bench.path()
    sys.stdout.write(as_markdown(results) + "\n")
    sys.stdout.write(f"Shares of {PATH[1]} and {PATH[2]} along the path: {shares}\n")
    if arguments.output is not None:
        arguments.output.mkdir(parents=True, exist_ok=True)
        picture.save(arguments.output / "feature_path.png")
        record = {"rows": [asdict(row) for row in results], "path": shares}
        (arguments.output / "features.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    return 0
