"""``diversity-guidance bench report``: what the report's numbers are worth, and how long they take.

Sets of known diversity rank the feature spaces; choices of more and more images of one source show which scores grow
with their number; folders made for the purpose show speed and memory.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from torch import Tensor

from ...embedded.reals import RealImages
from ...features.named import SPACE_NAMES, image_space
from ...metrics.summary import LABELS
from ..summary import markdown_table
from .golden import ATTRIBUTES, DISTINCT, features_of, golden_sets
from .growth import SCORES, growth
from .speed import PHOTOGRAPH, SMALL, make_folder, measured_speed

PARTS = ("golden", "growth", "speed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure (default: all)")
    parser.add_argument("--spaces", nargs="+", default=SPACE_NAMES, help="feature spaces (default: %(default)s)")
    parser.add_argument("--sets", type=int, default=100, help="sets of each kind (default: %(default)s)")
    parser.add_argument("--small", type=int, default=20_000, help="small images to measure (default: %(default)s)")
    parser.add_argument("--photographs", type=int, default=40, help="of 24 megapixels each (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Measure and print the tables.

    Raises:
        ValueError: a number that is not positive, or an unknown feature space.
    """
    if min(arguments.sets, arguments.small, arguments.photographs) < 1:
        raise ValueError("The numbers of sets, small images and photographs must be at least 1.")
    spaces = {name: image_space(name) for name in arguments.spaces}
    if "speed" in arguments.parts:
        _speed(arguments)
    if "golden" in arguments.parts or "growth" in arguments.parts:
        reals = RealImages.load()
        features = {name: features_of(space, reals) for name, space in spaces.items()}
        if "golden" in arguments.parts:
            _golden(features, reals, arguments.sets)
        if "growth" in arguments.parts:
            _growth(features)
    return 0


def _golden(features: dict[str, Tensor], reals: RealImages, sets: int) -> None:
    found = {name: list(golden_sets(rows, reals.labels, sets)) for name, rows in features.items()}
    score = {name: mean(each.told for each in found[name]) for name in found}
    ranked = sorted(found, key=lambda name: -score[name])
    told = [[name, *(f"{each.told:.3f}" for each in found[name]), f"{score[name]:.3f}"] for name in ranked]
    _print("Sets told apart while the other attributes vary (0.5 is chance)", ("space", *ATTRIBUTES, "mean"), told)
    alone = [
        [name, each.attribute, *(f"{each.alone[count]:.2f}" if count in each.alone else "" for count in DISTINCT)]
        for name in ranked
        for each in found[name]
    ]
    columns = ("space", "attribute", *(f"{count} of 8" for count in DISTINCT))
    _print("Effective number by distinct values, everything else equal", columns, alone)


def _growth(features: dict[str, Tensor]) -> None:
    for name, rows in features.items():
        lines = [[f"{size:,}", *(f"{found[score]:.2f}" for score in SCORES)] for size, found in growth(rows).items()]
        _print(f"Scores of {name} by the number of images", ("n", *(LABELS[score] for score in SCORES)), lines)


def _speed(arguments: argparse.Namespace) -> None:
    kinds = (
        ("photographs, JPEG", arguments.photographs, PHOTOGRAPH, "jpg", 2),
        ("photographs, PNG", arguments.photographs, PHOTOGRAPH, "png", 2),
        ("small, JPEG", arguments.small, SMALL, "jpg", arguments.small),
        ("small, PNG", arguments.small, SMALL, "png", arguments.small),
    )
    lines = []
    for title, count, size, ending, different in kinds:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "images"
            make_folder(folder, count, size, ending, different)
            for space in arguments.spaces:
                found = measured_speed(folder, space)
                lines.append(
                    [
                        f"{count:,} {title} {size[0]} x {size[1]}",
                        space,
                        f"{found.seconds:.1f}",
                        f"{count / (found.seconds - found.comparing):.1f}",
                        f"{1000 * found.reading / count:.1f}",
                        f"{found.comparing:.1f}",
                        f"{found.peak / 2**20:,.0f}",
                    ]
                )
    columns = (
        "folder",
        "space",
        "seconds",
        "images read and measured a second",
        "ms of processor time for each",
        "seconds of comparing",
        "peak MiB",
    )
    _print(f"Speed on {os.cpu_count()} cores", columns, lines)


def _print(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    sys.stdout.write(f"{title}\n\n{markdown_table(columns, rows)}\n\n")
