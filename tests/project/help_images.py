"""What each guidance node does at low and at high settings: the images of its help page, from the embedded model.

``python -m project.help_images`` in the tests folder writes them anew; names as arguments write those alone. Prompts,
seeds and settings are fixed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from diversity_guidance.benchmarks.features.steering import every_layer, own_samples, probe, steered
from diversity_guidance.benchmarks.pareto.rows import with_preset
from diversity_guidance.embedded.model import LATENT_CHANNELS, EmbeddedModel
from diversity_guidance.embedded.schedule import sigma_at_percent
from diversity_guidance.guidance.activations.guidance import FeatureGuidance
from diversity_guidance.guidance.activations.settings import RECOMMENDED_END as SHIFTS_END
from diversity_guidance.guidance.activations.settings import FeatureSettings
from diversity_guidance.guidance.base import Guidance
from diversity_guidance.guidance.limits import SigmaInterval
from diversity_guidance.guidance.noise import NoiseDesign
from diversity_guidance.guidance.presets import repellency_preset, vendi_preset
from diversity_guidance.guidance.repellency.guidance import SparseRepellency
from diversity_guidance.guidance.vendi.guidance import VendiGuidance
from diversity_guidance.metrics.figures.canvas import INK, sheet, tile, to_pil
from PIL import Image, ImageFont
from torch import Tensor

from .tree import ROOT

FOLDER = ROOT / "web" / "docs" / "images"
COUNT, TILE, GAP, LINE = 6, 92, 6, 40
WIDTH = COUNT * (TILE + GAP) + GAP
"""Twice the 290 pixels of the editor's help panel, so letters are half as high there."""

SEED = 1


class Row(NamedTuple):
    """One line of a figure: what stands above it, and raw latents of ``COUNT`` images."""

    title: str
    latents: Tensor


def sampled(model: EmbeddedModel, prompt: str, guidance: Guidance | None = None, noise: Tensor | None = None) -> Tensor:
    """Six images at the model's own steps and CFG."""
    return model.sample([prompt] * COUNT, SEED, guidance=guidance, noise=noise)


def of_presets(
    model: EmbeddedModel, preset_of: Callable[[str, bool], Any], method: Callable[..., Guidance]
) -> list[Row]:
    """A method's images: without it, and at its weakest and strongest preset, with CFG."""
    prompt = "woman running"
    rows = [Row("without", sampled(model, prompt))]
    for name in ("subtle", "strong"):
        rows.append(Row(name, sampled(model, prompt, with_preset(preset_of(name, False), method))))
    return rows


def repellency(model: EmbeddedModel) -> list[Row]:
    """Sparse Repellency."""
    return of_presets(model, repellency_preset, SparseRepellency)


def vendi(model: EmbeddedModel) -> list[Row]:
    """Vendi Guidance."""
    return of_presets(model, vendi_preset, VendiGuidance)


def features(model: EmbeddedModel) -> list[Row]:
    """Feature Guidance towards eight examples with dark skin, at three strengths."""
    prompt, group = "woman running", "woman running dark skin tone"
    examples = model.sample([group] * 8, SEED + 1, cfg=3.0)
    centroid = probe(model, [prompt] * 8, examples, "dark skin")
    reference = own_samples(model, prompt, 16, SEED + 2, 24)
    interval = SigmaInterval(low=sigma_at_percent(SHIFTS_END))
    rows = [Row("strength 0", sampled(model, prompt))]
    for strength in (0.5, 1.5):
        settings = FeatureSettings("towards", strength, interval)
        guidance = FeatureGuidance(settings, every_layer(model), centroid, reference)
        with steered(model, guidance) as guided:
            rows.append(Row(f"strength {strength:g}", sampled(guided, prompt, guidance)))
    return rows


def noise(model: EmbeddedModel) -> list[Row]:
    """Initial noise of every mode, without guidance."""
    prompt, rows = "woman police officer", []
    for mode in ("independent", "quantised", "simplex"):
        design = NoiseDesign(SEED, mode, set_size=COUNT)
        rows.append(Row(mode, sampled(model, prompt, noise=design.sample(range(COUNT), (LATENT_CHANNELS, 8, 8)))))
    return rows


FIGURES: dict[str, Callable[[EmbeddedModel], list[Row]]] = {
    "sparse_repellency": repellency,
    "vendi_guidance": vendi,
    "feature_guidance": features,
    "diverse_noise": noise,
}
"""By the name of the file."""


def figure(model: EmbeddedModel, rows: Sequence[Row]) -> Image.Image:
    """Rows of images, each below its title."""
    page, draw = sheet(WIDTH, len(rows) * (LINE + TILE + GAP))
    font = ImageFont.load_default(24)
    for number, row in enumerate(rows):
        top = number * (LINE + TILE + GAP)
        draw.text((GAP, top + 8), row.title, fill=INK, font=font)
        for column, image in enumerate(to_pil(model.decode(row.latents))):
            page.paste(tile(image, TILE), (GAP + column * (TILE + GAP), top + LINE))
    return page


def main(names: Sequence[str]) -> None:
    """Write the figures of these names, or all of them."""
    model = EmbeddedModel.load()
    FOLDER.mkdir(exist_ok=True)
    for name in names or FIGURES:
        figure(model, FIGURES[name](model)).save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
