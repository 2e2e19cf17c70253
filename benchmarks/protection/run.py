"""``diversity-guidance bench protection``: the embedded model's own training images protected from reproduction.

The experiment of arXiv 2410.06025, table 2, on the embedded model: all of its training images are protected, and images
are sampled for the full descriptions of some of these. The radius is the distance within which a given fraction of
unguided images has a protected one. Every batch is kept in a folder, so that a stopped run resumes.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ...embedded.judge import Judge
from ...embedded.model import EmbeddedModel
from ...embedded.reals import RealImages
from ...embedded.schedule import sigma_at_percent
from ...embedded.transformer import to_model_space
from ...features.random_network import RandomNetwork
from ...guidance.limits import NormClip, SigmaInterval
from ...guidance.repellency.guidance import RECOMMENDED_END, RepellencySettings
from ...kernels.manifold import prdc
from .page import pushed_page
from .runs import (
    BATCH,
    Batch,
    Order,
    nearest_protected,
    protected_images,
    sampled,
    training_prompts,
)

SHOWN = 12
"""Columns of the figure."""

NEIGHBOURS = 5
"""For precision and recall."""

CLEARLY = 1 - 1e-3
"""Fraction of the radius below which an image counts as inside: published pushes end exactly on the surface."""

UNGUIDED = "none"
DEFAULT = RepellencySettings(in_batch=False, interval=SigmaInterval(low=sigma_at_percent(RECOMMENDED_END)))
PUBLISHED = RepellencySettings(in_batch=False, cfg_easing=0.0, measure="guided", norm_clip=NormClip(math.inf, math.inf))
"""arXiv 2410.06025 as it protects ImageNet: every step, no overcompensation, no norm clip, no correction at the end."""

ROWS: dict[str, RepellencySettings | None] = {
    UNGUIDED: None,
    "default": DEFAULT,
    "default, ensured": replace(DEFAULT, ensure_outside=True),
    "ensured at the end only": replace(DEFAULT, ensure_outside=True, interval=SigmaInterval(high=0.0)),
    "as published": PUBLISHED,
}


@dataclass(frozen=True)
class Result:
    """The result of a row.

    Attributes:
        inside: fraction of images within the radius of a protected image.
        nearest: smallest distance to a protected image, relative to the radius.
        fidelity: fraction of images that show what the prompt says.
        precision: fraction of images similar to a protected one, in the random network's space.
        recall: fraction of protected images similar to a sampled one.
        seconds: processor time of sampling, per image.
        searched: fraction of estimates for which the index was searched.
    """

    inside: float
    nearest: float
    fidelity: float
    precision: float
    recall: float
    seconds: float
    searched: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--folder", type=Path, default=Path("protection"), help="of the index and the batches")
    parser.add_argument("--count", type=int, default=2000, help="images per row (default: 2000)")
    parser.add_argument("--share", type=float, default=0.08, help="of unguided images in a shield (default: 0.08)")
    parser.add_argument("--steps", type=int, default=14, help="evaluations of the model (default: 14)")
    parser.add_argument("--cfg", type=float, default=5.0, help="classifier-free guidance (default: 5)")
    parser.add_argument("--ways", nargs="+", choices=ROWS, default=list(ROWS), help="which rows to sample")


def run(arguments: argparse.Namespace) -> int:
    """Sample missing batches, measure, and write a table, ``results.json`` and a figure.

    Raises:
        ValueError: there are fewer images than a batch, or the share is not between 0 and 1.
    """
    batches = arguments.count // BATCH
    if batches < 1 or not 0 < arguments.share < 1:
        raise ValueError(f"Sample at least {BATCH} images, and choose a share between 0 and 1.")
    model, judge = EmbeddedModel.load(), Judge.load()
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    index = protected_images(folder / "index", model, judge.reals)
    stored = torch.cat([block.float() for block in index.vectors()]).flatten(1)
    order = Order(training_prompts(judge.reals.labels, batches * BATCH), arguments.steps, arguments.cfg)
    plain = list(sampled(folder / UNGUIDED, model, order, None, index))
    distances, _ = nearest_protected(plain, stored)
    radius = float(distances.quantile(arguments.share))
    ways = {
        way: plain
        if (settings := ROWS[way]) is None
        else list(sampled(folder / way, model, order, replace(settings, absolute_radius=radius), index))
        for way in arguments.ways
    }
    space = RandomNetwork()
    real_features = torch.cat(
        [space(judge.reals.images(part)) for part in torch.arange(len(judge.reals.pixels)).split(256)]
    )
    results = {
        way: _measured(made, order.prompts, model, judge, real_features, stored, radius) for way, made in ways.items()
    }
    sys.stdout.write(f"Radius {radius:.4g} in the model's latents.\n\n{as_markdown(results)}\n")
    record = {"radius": radius, "rows": {way: asdict(result) for way, result in results.items()}}
    (folder / "results.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    _page(ways, model, judge.reals, plain, stored, radius).save(folder / "pushed.png")
    return 0


def as_markdown(results: dict[str, Result]) -> str:
    """The results as a table."""
    lines = [
        "| guidance | inside a shield | nearest / radius | fidelity | precision | recall | seconds | searched |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for way, result in results.items():
        lines.append(
            f"| {way} | {result.inside:.2%} | {result.nearest:.6f} | {result.fidelity:.3f} | {result.precision:.3f} | "
            f"{result.recall:.3f} | {result.seconds:.4f} | {result.searched:.0%} |"
        )
    return "\n".join(lines)


def _measured(
    made: Sequence[Batch],
    prompts: Sequence[str],
    model: EmbeddedModel,
    judge: Judge,
    real_features: Tensor,
    stored: Tensor,
    radius: float,
) -> Result:
    images = torch.cat([model.decode(batch.latents) for batch in made])
    space = RandomNetwork()
    scores = prdc(real_features, torch.cat([space(part) for part in images.split(256)]), NEIGHBOURS)
    faithful = [judge.faithful(image[None], prompt)[0] for image, prompt in zip(images, prompts, strict=True)]
    distances, _ = nearest_protected(made, stored)
    return Result(
        inside=float((distances < radius * CLEARLY).double().mean()),
        nearest=float(distances.min()) / radius,
        fidelity=sum(faithful) / len(faithful),
        precision=scores.precision,
        recall=scores.recall,
        seconds=sum(batch.seconds for batch in made) / len(prompts),
        searched=sum(b.searches for b in made) / max(sum(b.searches + b.spared for b in made), 1),
    )


def _page(
    ways: dict[str, list[Batch]],
    model: EmbeddedModel,
    reals: RealImages,
    plain: Sequence[Batch],
    stored: Tensor,
    radius: float,
) -> Image.Image:
    """Images that are in a shield without guidance, evenly spaced from the nearest to the farthest."""
    distances, numbers = nearest_protected(plain, stored)
    caught = distances.argsort()[: int((distances < radius).sum())]
    shown = caught[torch.linspace(0, len(caught) - 1, min(SHOWN, len(caught))).long()]
    rows = {"protected": reals.images(numbers[shown])}
    captions: dict[str, list[str]] = {}
    for way, made in ways.items():
        latents = torch.cat([batch.latents for batch in made])[shown]
        rows[way] = model.decode(latents)
        apart = to_model_space(latents.double()) - to_model_space(stored[numbers[shown]].view_as(latents).double())
        captions[way] = [f"{distance:.2f}" for distance in apart.flatten(1).norm(dim=1).tolist()]
    return pushed_page(rows, captions)
