"""The training images: Noto Emoji and Twemoji from the npm packages `emoji-datasource-{google,twitter}` 16.0.0.

Images of people, smileys, animals and food with their labels. Variants of one emoji that differ only in gender or
skin tone share a concept, recognised by code point: a leading U+1F468, U+1F469 or U+1F9D1, or a joined U+2642 or
U+2640.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..reals import Label

SIZE = 64
VENDORS = ("google", "twitter")
CATEGORIES = {
    "People & Body": "people",
    "Smileys & Emotion": "smiley",
    "Animals & Nature": "animal",
    "Food & Drink": "food",
}
SKINS = {
    "": "default-skin",
    "1F3FB": "light-skin",
    "1F3FC": "medium-light-skin",
    "1F3FD": "medium-skin",
    "1F3FE": "medium-dark-skin",
    "1F3FF": "dark-skin",
}
GENDERS = {"1F468": "man", "2642": "man", "1F469": "woman", "2640": "woman", "1F9D1": "person"}
GENDER_WORDS = {"man", "men", "male", "woman", "women", "female", "person", "people"}
FILLER_WORDS = {"a", "and", "for", "in", "of", "on", "sign", "the", "to", "with"}


def read_labels(data: Path) -> tuple[list[Path], list[Label]]:
    """Paths and labels of all training images below `data`, the `node_modules` folder with both packages.

    Raises:
        ValueError: a package is missing, or its catalogue names no usable image.
    """
    catalogues = {}
    for vendor in VENDORS:
        catalogue = data / f"emoji-datasource-{vendor}" / "emoji.json"
        if not catalogue.is_file():
            raise ValueError(
                f"No emoji catalogue at {catalogue}: run `npm install emoji-datasource-google@16.0.0 "
                "emoji-datasource-twitter@16.0.0` and pass its node_modules folder as --data."
            )
        catalogues[vendor] = _kept(json.loads(catalogue.read_text(encoding="utf-8")))
    names = _concept_names(catalogues["google"])
    paths, labels = [], []
    for vendor, entries in catalogues.items():
        for entry in entries:
            concept, gender = _concept_key(entry["unified"])
            if len(names[concept][1]) == 1:
                gender = ""
            variants = {"": entry, **entry.get("skin_variations", {})}
            for code, variant in variants.items():
                path = data / f"emoji-datasource-{vendor}" / "img" / vendor / str(SIZE) / variant["image"]
                if not variant.get(f"has_img_{vendor}") or not path.is_file():
                    continue
                skin = SKINS[code] if len(variants) > 1 else ""
                paths.append(path)
                labels.append(Label(names[concept][0], gender, skin, vendor, CATEGORIES[entry["category"]]))
    if not paths:
        raise ValueError(f"The catalogues below {data} name no image that exists: reinstall the packages.")
    return paths, labels


def read_pixels(paths: list[Path]) -> Tensor:
    """Images as uint8 RGB, shape (N, 3, 64, 64), transparent parts composited on white."""
    pixels = np.empty((len(paths), SIZE, SIZE, 3), dtype=np.uint8)
    for row, path in enumerate(paths):
        with Image.open(path) as image:
            rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        pixels[row] = np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def _kept(catalogue: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries of the four categories; without families and without pairs, whose 25 skin combinations would dominate."""
    return [
        entry
        for entry in catalogue
        if entry["category"] in CATEGORIES
        and entry["subcategory"] != "family"
        and set(entry.get("skin_variations", {})) <= set(SKINS)
    ]


def _concept_key(unified: str) -> tuple[str, str]:
    """The code points that a concept's gender variants share, and the gender that the others say ("person" if none)."""
    points = [point for point in unified.split("-") if point not in ("FE0F", "200D")]
    if points[0] in GENDERS:
        return "-".join(["person", *points[1:]]), GENDERS[points[0]]
    marks = [point for point in points if point in GENDERS]
    return "-".join(point for point in points if point not in GENDERS), GENDERS[marks[0]] if marks else "person"


def _concept_names(entries: list[dict[str, Any]]) -> dict[str, tuple[str, set[str]]]:
    """The words and genders of each concept key."""
    # Gendered names say more: "man-running" beside "runner", "male-doctor" beside "health_worker".
    variants: dict[str, dict[str, str]] = defaultdict(dict)
    for entry in entries:
        key, gender = _concept_key(entry["unified"])
        variants[key][gender] = entry["short_name"]
    names = {}
    for key, by_gender in variants.items():
        candidates = [by_gender[g] for g in ("woman", "man", "person") if g in by_gender]
        dropped = FILLER_WORDS | (GENDER_WORDS if len(by_gender) > 1 else set())
        words = [[w for w in _split(name) if w not in dropped] for name in candidates]
        chosen = next((w for w in words if w), _split(candidates[0]))
        names[key] = (" ".join(chosen), set(by_gender))
    return names


def _split(short_name: str) -> list[str]:
    return [word for word in short_name.lower().replace("_", "-").split("-") if word]
