"""Icon and banner of the pack's page in the registry, from the embedded model.

``python -m project.registry_images`` in the tests folder writes them anew. Prompt, seed and settings are fixed.
"""

from __future__ import annotations

from collections.abc import Sequence

from diversity_guidance.benchmarks.pareto.rows import with_preset
from diversity_guidance.embedded.model import EmbeddedModel
from diversity_guidance.guidance.presets import repellency_preset
from diversity_guidance.guidance.repellency.guidance import SparseRepellency
from diversity_guidance.metrics.figures.canvas import to_pil
from PIL import Image, ImageDraw, ImageFont

from .tree import ROOT

FOLDER = ROOT / "docs" / "images"
ICON, BANNER = 400, (1680, 720)
"""At most 400 x 400, and 21:9: what the registry asks for."""

GROUND, LIGHT, FAINT = "#3b2a4a", "#ffffff", "#cbb8dc"
PROMPT, SEED, COUNT = "doctor", 1, 8
ON_ICON = (0, 4, 5, 6)
"""Which images of the batch that was kept apart."""


def batches(model: EmbeddedModel) -> tuple[list[Image.Image], list[Image.Image]]:
    """The same prompt and seed as it is, and kept apart."""
    guidance = with_preset(repellency_preset("balanced", False), SparseRepellency)
    plain, apart = (model.sample([PROMPT] * COUNT, SEED, guidance=one) for one in (None, guidance))
    return to_pil(model.decode(plain)), to_pil(model.decode(apart))


def pasted(page: Image.Image, tiles: Sequence[Image.Image], corner: tuple[int, int], side: int, columns: int) -> None:
    """Put tiles with round corners on a page, in rows."""
    gap = side // 12
    mask = Image.new("L", (side, side))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, side - 1, side - 1), side // 8, fill=255)
    for place, tile in enumerate(tiles):
        row, column = divmod(place, columns)
        at = corner[0] + column * (side + gap), corner[1] + row * (side + gap)
        page.paste(tile.resize((side, side), Image.Resampling.LANCZOS), at, mask)


def icon(different: Sequence[Image.Image]) -> Image.Image:
    """Four images that differ."""
    page = Image.new("RGB", (ICON, ICON), GROUND)
    pasted(page, different, (29, 29), 164, 2)
    return page


def banner(alike: Sequence[Image.Image], different: Sequence[Image.Image]) -> Image.Image:
    """Name and promise, and both batches below one another."""
    page = Image.new("RGB", BANNER, GROUND)
    draw = ImageDraw.Draw(page)
    draw.text((80, 70), "Diversity Guidance", fill=LIGHT, font=ImageFont.load_default(92))
    draw.text((84, 186), "Same prompt, same model, different images", fill=FAINT, font=ImageFont.load_default(40))
    for top, label, tiles in ((290, "without", alike), (500, "with", different)):
        draw.text((84, top + 60), label, fill=FAINT, font=ImageFont.load_default(34))
        pasted(page, tiles, (240, top), 158, COUNT)
    return page


def main() -> None:
    """Write both."""
    alike, different = batches(EmbeddedModel.load())
    icon([different[place] for place in ON_ICON]).save(FOLDER / "icon.png", optimize=True)
    banner(alike, different).save(FOLDER / "banner.png", optimize=True)


if __name__ == "__main__":
    main()
