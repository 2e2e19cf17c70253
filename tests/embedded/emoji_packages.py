"""A miniature of the two npm packages with the training pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

PEOPLE, ANIMALS = ("People & Body", "person-activity"), ("Animals & Nature", "cat-face")
CATALOGUE = [
    ("1F3C3-200D-2640-FE0F", "woman-running", PEOPLE, ("1F3FB", "1F3FF")),
    ("1F3C3-200D-2642-FE0F", "man-running", PEOPLE, ("1F3FB", "1F3FF")),
    ("1F3C3", "runner", PEOPLE, ("1F3FB", "1F3FF")),
    ("1F468-200D-2695-FE0F", "male-doctor", PEOPLE, ()),
    ("1F469-200D-2695-FE0F", "female-doctor", PEOPLE, ()),
    ("1F9D1-200D-2695-FE0F", "health_worker", PEOPLE, ()),
    ("1F46A", "family", ("People & Body", "family"), ()),
    ("1F91D", "handshake", PEOPLE, ("1F3FB-1F3FC",)),
    ("1F431", "cat", ANIMALS, ()),
    ("1F1EA-1F1EC", "flag-eg", ("Flags", "country-flag"), ()),
]


def write_packages(folder: Path) -> Path:
    """Write both packages; each picture is a square of its own colour on a transparent ground."""
    for vendor in ("google", "twitter"):
        package = folder / f"emoji-datasource-{vendor}"
        pictures = package / "img" / vendor / "64"
        pictures.mkdir(parents=True)
        entries = []
        for number, (code, name, (category, subcategory), skins) in enumerate(CATALOGUE):
            variants = {skin: _variant(f"{code}-{skin}", vendor) for skin in skins}
            entries.append(
                _variant(code, vendor)
                | {"unified": code, "short_name": name, "category": category, "subcategory": subcategory}
                | ({"skin_variations": variants} if variants else {})
            )
            for shade, variant in enumerate([entries[-1], *variants.values()]):
                picture = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
                picture.paste((20 * number, 80 * shade, 90 if vendor == "google" else 200, 255), (16, 16, 48, 48))
                picture.save(pictures / variant["image"])
        (package / "emoji.json").write_text(json.dumps(entries), encoding="utf-8")
    return folder


def _variant(code: str, vendor: str) -> dict[str, Any]:
    return {"image": f"{code.lower()}.png", f"has_img_{vendor}": True}
