"""``diversity-guidance bench copies``: how often different images are called near-duplicates, and copies are not."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image

from ...features.image_files import as_tensor
from ...indexing.bank.previews import thumbnails
from ...metrics.copies.search import LIMIT, copies, repeats
from ...metrics.copies.thumbnails import CopyThumbnails
from ..summary import markdown_table
from .alterations import ALTERATIONS
from .drawings import emoji_families, kinds


@dataclass(frozen=True)
class Errors:
    """What the rule says of one kind of image.

    Attributes:
        pairs: number of pairs of different images.
        called: how many of them are called near-duplicates.
        altered: number of copies.
        missed: how many of them are not called near-duplicates, by what was done to them.
    """

    pairs: int
    called: int
    altered: int
    missed: dict[str, int]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--count", type=int, default=32, help="images of every kind (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the drawings (default: %(default)s)")
    parser.add_argument(
        "--previews", action="store_true", help="compare with previews of 128 pixels, as a Memory Bank keeps them"
    )
    parser.add_argument("--limit", type=float, default=LIMIT, help="residual of a copy (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Measure every kind and print the table.

    Raises:
        ValueError: there are fewer than two images of a kind.
    """
    if arguments.count < 2:
        raise ValueError("Two images of every kind are needed.")
    lines = []
    sets: list[tuple[str, list[Image.Image], list[int] | None]] = [
        (name, images, None) for name, images in kinds(arguments.count, arguments.seed).items()
    ]
    families = emoji_families(arguments.count)
    numbers = [number for number, family in enumerate(families) for _ in family]
    sets.append(("emoji, skin tone alone", [image for family in families for image in family], numbers))
    for name, images, family in sets:
        found = errors(images, arguments.limit, previews=arguments.previews, families=family)
        missed = sum(found.missed.values())
        worst = "; ".join(f"{what} {count}" for what, count in found.missed.items() if count)
        lines.append((name, f"{found.called} of {found.pairs:,}", f"{missed} of {found.altered:,}", worst or "none"))
        sys.stderr.write(f"{name}\n")
    sys.stdout.write(markdown_table(("kind", "different, called copies", "copies, missed", "which"), lines) + "\n")
    return 0


def errors(
    images: Sequence[Image.Image],
    limit: float = LIMIT,
    *,
    previews: bool = False,
    families: Sequence[int] | None = None,
) -> Errors:
    """Compare all images with one another, and each with its altered copies.

    Args:
        images: all of them different.
        limit: residual of a copy.
        previews: whether the original of each pair is a preview as a Memory Bank keeps it.
        families: number of each image's family, of which only pairs of one count; None for all pairs.
    """
    count = len(images)
    whole = [as_tensor(image) for image in images]
    originals = [thumbnails(image[None])[0].movedim(-1, 0) / 255 for image in whole] if previews else whole
    families = [0] * count if families is None else families
    different = {(i, j) for i in range(count) for j in range(i) if families[i] == families[j]}
    pairs = repeats(CopyThumbnails.of(whole), CopyThumbnails.of(originals), limit)
    called = sum((pair.first, pair.second) in different for pair in pairs)
    missed = {}
    for name, alter in ALTERATIONS.items():
        both = CopyThumbnails.of([*originals, *(as_tensor(alter(image)) for image in images)])
        own = torch.stack([torch.arange(count), torch.arange(count) + count], 1)
        missed[name] = count - len(copies(both, limit, own))
    return Errors(len(different), called, count * len(ALTERATIONS), missed)
