"""Pictures on disk, and a command that says what it printed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def draw(path: Path, seed: int, size: tuple[int, int] = (24, 20)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size).save(path)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Ten different pictures, a copy of one, and two files that are none."""
    root = tmp_path / "pictures"
    for seed in range(10):
        draw(root / f"{'cats' if seed % 2 else 'dogs'}/{seed}.png", seed, (24, 20) if seed < 5 else (16, 40))
    (root / "copy.png").write_bytes((root / "cats/1.png").read_bytes())
    (root / "cats/broken.jpg").write_bytes(b"not an image")
    (root / "dogs/cut.png").write_bytes((root / "dogs/2.png").read_bytes()[:100])
    return root
