"""Pack the real images for the package: one AVIF atlas and one table of labels.

    python -m diversity_guidance.embedded.training.reals --data node_modules --out embedded/assets

AVIF with full colour resolution: at the same size WebP's error is a third larger, most of it in the halved colour of
the small faces.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ..reals import ATLAS, COLUMNS, TABLE, TILE, Label
from .data import read_labels, read_pixels


def pack_labels(labels: Sequence[Label]) -> str:
    """Labels as compact JSON: each distinct value once, then five numbers per image."""
    values = [sorted({label[field] for label in labels}) for field in range(len(Label._fields))]
    number = [{value: index for index, value in enumerate(column)} for column in values]
    rows = [[number[field][value] for field, value in enumerate(label)] for label in labels]
    return json.dumps(
        {"values": dict(zip(Label._fields, values, strict=True)), "pictures": rows}, separators=(",", ":")
    )


def paint_atlas(pixels: Tensor) -> Image.Image:
    """One image of all tiles, uint8 (N, 3, 64, 64), row by row; white after the last."""
    rows = -(-len(pixels) // COLUMNS)
    tiles = torch.full((rows * COLUMNS, *pixels.shape[1:]), 255, dtype=torch.uint8)
    tiles[: len(pixels)] = pixels
    grid = tiles.view(rows, COLUMNS, 3, TILE, TILE).permute(0, 3, 1, 4, 2)
    return Image.fromarray(grid.reshape(rows * TILE, COLUMNS * TILE, 3).numpy())


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="node_modules folder with the emoji packages")
    parser.add_argument("--out", type=Path, required=True, help="folder for the atlas and the table")
    parser.add_argument("--quality", type=int, default=33, help="of the AVIF, 0 to 100")
    options = parser.parse_args(arguments)
    paths, labels = read_labels(options.data)
    order = sorted(range(len(labels)), key=lambda index: (labels[index].category, labels[index]))
    pixels = read_pixels(paths)[torch.tensor(order)]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / TABLE).write_text(pack_labels([labels[index] for index in order]), encoding="utf-8")
    paint_atlas(pixels).save(options.out / ATLAS, quality=options.quality, subsampling="4:4:4", speed=6)


if __name__ == "__main__":
    main()
