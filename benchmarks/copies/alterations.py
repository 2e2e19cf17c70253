"""What happens to an image on its way: it is encoded anew, resized, cropped, mirrored, or its colours change."""

from __future__ import annotations

import io
import random
from collections.abc import Callable

from PIL import Image, ImageEnhance, ImageFilter, ImageOps

Alteration = Callable[[Image.Image], Image.Image]


def encoded(image: Image.Image, quality: int) -> Image.Image:
    """As a JPEG of a quality."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def scaled(image: Image.Image, width: float, height: float) -> Image.Image:
    """Resized by two factors."""
    return image.resize((round(image.width * width), round(image.height * height)), Image.Resampling.BICUBIC)


def cropped(image: Image.Image, share: float) -> Image.Image:
    """A window with a share of the width and of the height, anywhere."""
    chance = random.Random(image.tobytes()[:4096] + image.size.__repr__().encode())
    width, height = round(image.width * share), round(image.height * share)
    left, top = chance.randint(0, image.width - width), chance.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height))


def tinted(image: Image.Image, gains: tuple[float, float, float]) -> Image.Image:
    """Each channel multiplied."""
    channels = [
        channel.point([min(255, round(value * gain)) for value in range(256)])
        for channel, gain in zip(image.split(), gains, strict=True)
    ]
    return Image.merge("RGB", channels)


ALTERATIONS: dict[str, Alteration] = {
    "JPEG 50 at half size": lambda image: encoded(scaled(image, 0.5, 0.5), 50),
    "JPEG 30": lambda image: encoded(image, 30),
    "resized to another shape": lambda image: scaled(image, 1.4, 1.2),
    "cropped to 95 %": lambda image: cropped(image, 0.95),
    "cropped to 90 %": lambda image: cropped(image, 0.9),
    "cropped to 80 %": lambda image: cropped(image, 0.8),
    "mirrored": ImageOps.mirror,
    "mirrored and cropped": lambda image: ImageOps.mirror(cropped(image, 0.9)),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.75),
    "more contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.3),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "warmer": lambda image: tinted(image, (1.1, 1.0, 0.8)),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(image.width / 256)),
}
