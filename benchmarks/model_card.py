"""Measure a trained model for its card: known modes, quality and prompt fidelity against classifier-free guidance.

    python -m diversity_guidance.benchmarks.model_card --out docs/model_card

Writes measurements.json and the card's images; with `--weights` another model than the embedded one.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..embedded.autoencoder import load_autoencoder
from ..embedded.judge import Coverage, Judge
from ..embedded.model import EmbeddedModel
from ..embedded.reals import Label
from ..embedded.text import TextEncoder
from ..embedded.transformer import load_transformer
from .modes import PROMPTS

log = logging.getLogger(__name__)

SCALES = (1.0, 2.0, 3.0, 5.0, 8.0)
SEEDS = (100, 500, 800)
COUNT = 16
NARROWED_PROMPT = "doctor"
GALLERY_SCALE = 3.0
GALLERY_COLUMNS = 12


def load_model(folder: Path | None) -> EmbeddedModel:
    """The model of a training folder (mmdit, text and vae.safetensors); the embedded one without a folder."""
    if folder is None:
        return EmbeddedModel.load()
    return EmbeddedModel(
        load_transformer(folder / "mmdit.safetensors"),
        TextEncoder.load(folder / "text.safetensors"),
        load_autoencoder(folder / "vae.safetensors"),
    )


def sample(model: EmbeddedModel, prompts: Sequence[str], seed: int, cfg: float) -> Tensor:
    """Images (B, 3, 64, 64) in 0..1, one for each prompt."""
    return model.decode(model.sample(list(prompts), seed, cfg=cfg))


def measure_scale(model: EmbeddedModel, judge: Judge, cfg: float, seeds: Sequence[int]) -> dict[str, Any]:
    """Mean coverage over prompts and seeds at one guidance scale, and the modes reached well for each seed."""
    rows = [[_coverage(model, judge, prompt, seed, cfg) for prompt in PROMPTS] for seed in seeds]
    names = [field.name for field in fields(Coverage)]
    means = {name: _mean([getattr(row, name) for part in rows for row in part]) for name in names}
    return {"cfg": cfg, **means, "reached_well_by_seed": [_mean([row.reached_well for row in part]) for part in rows]}


def measure_full_prompts(model: EmbeddedModel, judge: Judge, count: int = 384, cfg: float = GALLERY_SCALE) -> float:
    """Share of faithful images for prompts that say everything: concept, gender, skin tone and vendor."""
    labels = random.Random(0).sample(list(judge.reals.labels), count)
    faithful = 0
    for start in range(0, count, COUNT):
        prompts = [say_everything(label) for label in labels[start : start + COUNT]]
        images = sample(model, prompts, start, cfg)
        for row, prompt in enumerate(prompts):
            faithful += sum(judge.faithful(images[row : row + 1], prompt))
    return faithful / count


def say_everything(label: Label) -> str:
    """The prompt with all words of a label but its category, at most eight."""
    words = [*label.concept.split(), *(word for word in label.mode if word)]
    return " ".join(list(dict.fromkeys(words))[:8])


def paste_rows(rows: Sequence[Tensor]) -> Image.Image:
    """An image of rows of images, each (B, 3, H, W) in 0..1."""
    grid = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)
    return Image.fromarray((grid.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())


def _coverage(model: EmbeddedModel, judge: Judge, prompt: str, seed: int, cfg: float) -> Coverage:
    return judge.coverage(judge.judge(sample(model, [prompt] * COUNT, seed, cfg), prompt), prompt)


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 4)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for measurements.json and the images")
    parser.add_argument("--weights", type=Path, help="folder with mmdit, text and vae.safetensors (default: embedded)")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="of the table's batches (default: three)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options.out.mkdir(parents=True, exist_ok=True)
    model, judge = load_model(options.weights), Judge.load()
    started = time.monotonic()
    paste_rows([sample(model, [NARROWED_PROMPT] * COUNT, SEEDS[0], cfg) for cfg in SCALES]).save(
        options.out / "narrowing.png"
    )
    chosen = random.Random(1).sample(range(len(judge.reals.labels)), 2 * GALLERY_COLUMNS)
    gallery = []
    for half in (chosen[:GALLERY_COLUMNS], chosen[GALLERY_COLUMNS:]):
        prompts = [say_everything(judge.reals.labels[index]) for index in half]
        gallery += [judge.reals.images(torch.tensor(half)), sample(model, prompts, SEEDS[0], GALLERY_SCALE)]
    paste_rows(gallery).save(options.out / "gallery.png")
    reals = judge.reals.images(torch.tensor(chosen[:GALLERY_COLUMNS]))
    paste_rows([reals, model.decode(model.autoencoder.encode(reals))]).save(options.out / "reconstruction.png")
    measurements: dict[str, Any] = {
        "quality_limit": round(judge.reals.quality_limit, 4),
        "full_prompts_faithful": measure_full_prompts(model, judge),
        "scales": [],
    }
    for cfg in SCALES:
        measurements["scales"].append(measure_scale(model, judge, cfg, options.seeds))
        log.info("%s", measurements["scales"][-1])
    log.info("measured in %.0f s", time.monotonic() - started)
    (options.out / "measurements.json").write_text(json.dumps(measurements, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
