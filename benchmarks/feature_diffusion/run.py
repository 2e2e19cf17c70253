"""``diversity-guidance bench feature-diffusion``: train the paper's method on digits and measure its claims."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from statistics import mean

import torch
from PIL import Image
from torch import Tensor

from ...metrics.figures.canvas import sheet, tile, to_pil
from .data import Digits, Reader
from .measure import (
    Between,
    ClassSamples,
    Clustering,
    between_classes,
    centroids_of,
    class_samples,
    clustering,
    dimensions,
    unguided,
)
from .training import train

SHOWN = 12
BEYOND = 1.0
"""Extrapolation of the second table past a class' centroid, away from the mean of all."""


def grid(images: Tensor, side: int = 32) -> Image.Image:
    """Rows of images, (rows, columns, 1, 8, 8) in -1..1."""
    rows, columns = images.shape[:2]
    page, _ = sheet(columns * side, rows * side)
    for at, image in enumerate(to_pil((images.flatten(0, 1).expand(-1, 3, -1, -1) + 1) / 2)):
        page.paste(tile(image, side - 2), (at % columns * side, at // columns * side))
    return page


def samples_table(samples: list[ClassSamples]) -> str:
    """Conditional samples as text."""
    lines = ["| class | of the class | Vendi Score | of real ones | copied |", "| --- | --- | --- | --- | --- |"]
    for digit, row in enumerate(samples):
        lines.append(f"| {digit} | {row.share:.2f} | {row.vendi:.2f} | {row.vendi_real:.2f} | {row.copied:.2f} |")
    means = [mean(getattr(row, name) for row in samples) for name in ("share", "vendi", "vendi_real", "copied")]
    return "\n".join([*lines, "| mean | " + " | ".join(f"{value:.2f}" for value in means) + " |"])


def table(found: list[Clustering], paths: list[Between], axes: Tensor) -> str:
    """Clusters, and the samples between them, as text."""
    lines = ["| noise level | nearest centroid is the own | separation |", "| --- | --- | --- |"]
    lines += [f"| {row.sigma:g} | {row.nearest:.3f} | {row.separation:.2f} |" for row in found]
    lines += [
        "",
        "Share of the centroids' differences by axis: " + ", ".join(f"{share:.2f}" for share in axes.tolist()),
    ]
    lines += ["", "| from, to | place of the features | first class | second class |", "| --- | --- | --- | --- |"]
    for path in paths:
        columns = [path.places, [share[0] for share in path.shares], [share[1] for share in path.shares]]
        text = " | ".join(" ".join(f"{value:.2f}" for value in column) for column in columns)
        lines.append(f"| {path.pair[0]}, {path.pair[1]} | {text} |")
    return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--steps", type=int, default=2000, help="steps of training (default: 2000)")
    parser.add_argument("--count", type=int, default=40, help="images a class and place (default: 40)")
    parser.add_argument("--seed", type=int, default=0, help="of training and sampling (default: 0)")
    parser.add_argument("--output", type=Path, help="also write numbers and images into this folder")


def run(arguments: argparse.Namespace) -> int:
    """Train, measure, and print the tables."""

    def tick(step: int, loss: float) -> None:
        if step % 100 == 0:
            sys.stderr.write(f"\rstep {step} of {arguments.steps}, loss {loss:.4f} ")

    digits = Digits.load()
    reader = Reader(digits)
    network = train(digits, arguments.steps, arguments.seed, tick)
    with torch.no_grad():
        centroids = centroids_of(network, digits)
        found, axes = clustering(network, digits, centroids), dimensions(centroids)
        size = arguments.count, arguments.seed
        samples, classes = class_samples(network, digits, reader, centroids, *size)
        farther, _ = class_samples(network, digits, reader, centroids, *size, beyond=BEYOND)
        paths, between = between_classes(network, reader, centroids, *size)
        free, shares = unguided(network, reader, *size)
    sys.stdout.write(f"\nThe reader is right on {reader.accuracy:.3f} of the held-out digits.\n")
    sys.stdout.write(table(found, paths, axes) + "\n\n" + samples_table(samples) + "\n\n")
    sys.stdout.write(f"Past the centroids by {BEYOND:g}:\n\n" + samples_table(farther) + "\n\n")
    sys.stdout.write("Classes without guidance: " + " ".join(f"{share:.2f}" for share in shares.tolist()) + "\n")
    if arguments.output is not None:
        arguments.output.mkdir(parents=True, exist_ok=True)
        shown = min(SHOWN, arguments.count)
        grid(classes[:, :shown]).save(arguments.output / "digits_classes.png")
        grid(between[:, :, 0]).save(arguments.output / "digits_between.png")
        grid(free[None, :shown]).save(arguments.output / "digits_unguided.png")
        record = {
            "clustering": [asdict(row) for row in found],
            "axes": axes.tolist(),
            "classes": [asdict(row) for row in samples],
            "classes_beyond": [asdict(row) for row in farther],
            "between": [asdict(path) for path in paths],
            "unguided": shares.tolist(),
        }
        (arguments.output / "feature_diffusion.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    return 0
