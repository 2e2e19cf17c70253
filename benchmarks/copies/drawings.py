"""Images of several kinds, all different: drawings by a seed, real emoji, and photographs of scikit-image."""

from __future__ import annotations

import random
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ...embedded.reals import RealImages

SIDE = 512
GROUNDS = {
    "ink on white": ((255, 255, 255), (0, 0, 0)),
    "white on dark": ((30, 32, 36), (240, 240, 240)),
    "sepia": ((240, 232, 214), (90, 60, 40)),
}
"""Background and ink of line art."""

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket", "hubble_deep_field", "ihc", "retina", "motorcycle_left")
PHOTOGRAPHS += ("camera", "coins", "moon", "page", "text", "grass", "gravel", "brick")
"""Images that the wheel of scikit-image holds."""

_LETTERS = "ABCDEFGHIKLMNOPRSTUV"

Colour = tuple[int, int, int]


def strokes(chance: random.Random, ground: Colour, ink: Colour) -> Image.Image:
    """Straight lines on one ground."""
    image, draw = _page(ground)
    for _ in range(chance.randint(5, 12)):
        draw.line([chance.randint(20, SIDE - 20) for _ in range(4)], fill=ink, width=chance.randint(2, 5))
    return image


def outlines(chance: random.Random, ground: Colour, ink: Colour) -> Image.Image:
    """Outlines of circles and squares."""
    image, draw = _page(ground)
    for _ in range(chance.randint(3, 6)):
        x, y, size = chance.randint(40, SIDE - 160), chance.randint(40, SIDE - 160), chance.randint(40, 140)
        shape = chance.choice([draw.ellipse, draw.rectangle])
        shape([x, y, x + size, y + size], outline=ink, width=4)
    return image


def word(chance: random.Random, ground: Colour, ink: Colour) -> Image.Image:
    """A word of six letters anywhere."""
    image, draw = _page(ground)
    place = chance.randint(20, 160), chance.randint(40, 380)
    draw.text(place, _letters(chance), fill=ink, font=ImageFont.load_default(70))
    return image


def title(chance: random.Random) -> Image.Image:
    """A word of six letters in the middle."""
    image, draw = _page((245, 240, 230))
    draw.text((SIDE / 2, SIDE / 2), _letters(chance), (40, 40, 60), ImageFont.load_default(100), anchor="mm")
    return image


def flat(chance: random.Random) -> Image.Image:
    """Shapes of one colour each."""
    image, draw = _page(_colour(chance))
    for _ in range(chance.randint(2, 6)):
        x, y = chance.randint(-100, SIDE - 60), chance.randint(-100, SIDE - 60)
        shape = chance.choice([draw.ellipse, draw.rectangle])
        shape([x, y, x + chance.randint(80, 350), y + chance.randint(80, 350)], fill=_colour(chance))
    return image


def logo(chance: random.Random) -> Image.Image:
    """A logo in the corner of one of four coloured gradients that many images share."""
    image = _gradient(random.Random(chance.randint(0, 3)))
    draw = ImageDraw.Draw(image)
    draw.rectangle([350, 40, 470, 160], fill="white")
    for _ in range(3):
        x, y, size = chance.randint(355, 420), chance.randint(45, 110), chance.randint(20, 48)
        shape = chance.choice([draw.ellipse, draw.rectangle])
        shape([x, y, x + size, y + size], fill=_colour(chance))
    return image


def noise(chance: random.Random) -> Image.Image:
    """Independent pixels."""
    values = np.random.default_rng(chance.getrandbits(64)).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    return Image.fromarray(values)


def emoji(count: int) -> list[Image.Image]:
    """So many real emoji of 64 pixels a side."""
    reals = RealImages.load()
    numbers = list(range(len(reals.labels)))
    random.Random(0).shuffle(numbers)
    return [_real(reals, number) for number in numbers[:count]]


def emoji_families(count: int) -> list[list[Image.Image]]:
    """So many families of real emoji, of one concept, vendor and gender each: they differ in skin tone alone."""
    reals = RealImages.load()
    kin: dict[tuple[str, str, str], list[int]] = {}
    for number, label in enumerate(reals.labels):
        kin.setdefault((label.concept, label.vendor, label.gender), []).append(number)
    several = [found for found in kin.values() if len(found) > 1]
    random.Random(0).shuffle(several)
    return [[_real(reals, number) for number in family] for family in several[:count]]


def photographs() -> list[Image.Image]:
    """The middle square of each photograph; none where scikit-image is not installed."""
    found = find_spec("skimage")
    if found is None or found.origin is None:
        return []
    folder = Path(found.origin).with_name("data")
    files = [path for name in PHOTOGRAPHS for path in folder.glob(f"{name}.*") if path.suffix in (".png", ".jpg")]
    return [_square(Image.open(path).convert("RGB")) for path in files]


def kinds(count: int, seed: int = 0) -> dict[str, list[Image.Image]]:
    """Images of every kind by its name, ``count`` of each where there are as many."""
    makers: dict[str, Callable[[random.Random], Image.Image]] = {"titles": title, "flats": flat, "logos": logo}
    found = {
        f"{maker.__name__}, {name}": [maker(random.Random(f"{seed}{name}{number}"), *inks) for number in range(count)]
        for name, inks in GROUNDS.items()
        for maker in (strokes, outlines, word)
    }
    for name, maker in makers.items():
        found[name] = [maker(random.Random(f"{seed}{name}{number}")) for number in range(count)]
    found["photographs"] = photographs()[:count]
    found["emoji"] = emoji(count)
    found["noise"] = [noise(random.Random(f"{seed}{number}")) for number in range(count)]
    return {name: images for name, images in found.items() if images}


def _real(reals: RealImages, number: int) -> Image.Image:
    return Image.fromarray(reals.pixels[number].permute(1, 2, 0).numpy())


def _page(ground: Colour) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (SIDE, SIDE), ground)
    return image, ImageDraw.Draw(image)


def _letters(chance: random.Random) -> str:
    return "".join(chance.choice(_LETTERS) for _ in range(6))


def _colour(chance: random.Random) -> Colour:
    return chance.randint(0, 255), chance.randint(0, 255), chance.randint(0, 255)


def _gradient(chance: random.Random) -> Image.Image:
    values = np.random.default_rng(chance.getrandbits(64)).integers(40, 216, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(values).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def _square(image: Image.Image) -> Image.Image:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.resize((SIDE, SIDE), Image.Resampling.LANCZOS, (left, top, left + side, top + side))
