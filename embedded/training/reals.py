"""Pack the real pictures for the package: one AVIF atlas and one table of labels.

    python -m diversity_guidance.embedded.training.reals --data node_modules --out embedded/assets

AVIF with full colour resolution: at the same size WebP's error is a third larger, most of it in the halved colour of
the small faces.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from ..reals import (
    ATLAS,
    TABLE,
    pack_labels,
    paint_atlas,
)
from .data import read_labels, read_pixels


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
