"""Results of ``bench pareto``: its points, read from a file and written as a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from ..summary import markdown_table


@dataclass(frozen=True)
class Point:
    """The result of a row, averaged over prompts and seeds.

    Attributes:
        name: of the row.
        model: "base" or "turbo".
        cfg: scale of classifier-free guidance.
        steps: evaluations of the model without a method.
        modes: known modes reached by a faithful image within the quality limit.
        modes_error: standard error of ``modes`` over the seeds' means; 0 for one seed.
        known: modes that the prompts leave open.
        fidelity: fraction of images that show what the prompt says.
        rmse: distance to the nearest real image of the prompt, pixels in 0..1.
        sharpness: relative to that image.
        seconds: of processor time per image, without decoding, so that other programs do not count.
        images: number of images.
        different: clearly different images of a batch, as the setting ``target`` counts them.
        different_spread: standard deviation over the batches.
        reached: fraction of the batches in which the row's target was reached; 0 for rows without one.
    """

    name: str
    model: str
    cfg: float
    steps: int
    modes: float
    modes_error: float
    known: float
    fidelity: float
    rmse: float
    sharpness: float
    seconds: float
    images: int
    different: float = 0.0
    different_spread: float = 0.0
    reached: float = 0.0


def read_points(path: Path | None) -> list[Point]:
    """Results of an earlier run.

    Raises:
        ValueError: the file is not of this benchmark.
    """
    if path is None or not path.is_file():
        return []
    try:
        return [Point(**point) for point in json.loads(path.read_text(encoding="utf-8"))]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is no output of this benchmark: name another file.") from error


def as_markdown(points: Sequence[Point]) -> str:
    """The points as a table."""
    known = mean(point.known for point in points)
    columns = (
        "row",
        "CFG",
        "steps",
        f"modes of {known:.1f}",
        "that differ",
        "fidelity",
        "RMSE",
        "sharpness",
        "s an image",
    )
    lines = (
        (
            point.name,
            f"{point.cfg:g}",
            str(point.steps),
            f"{point.modes:.2f} ± {point.modes_error:.2f}",
            f"{point.different:.1f} ± {point.different_spread:.1f}" if point.different else "",
            f"{point.fidelity:.3f}",
            f"{point.rmse:.4f}",
            f"{point.sharpness:.2f}",
            f"{point.seconds:.3f}",
        )
        for point in points
    )
    return markdown_table(columns, lines)
