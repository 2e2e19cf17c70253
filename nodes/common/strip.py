"""A strip of a bank's newest thumbnails on a node, as one image in the host's temporary folder."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import folder_paths
from PIL import Image

from ...stores.bank.snapshot import BankSnapshot
from ..host.messages import logger

SHOWN, COLUMNS, SIDE, GAP = 8, 4, 96, 4


def strip_of(snapshot: BankSnapshot) -> dict[str, Any]:
    """What a node shows as ``ui``: the newest thumbnails, newest first; nothing if none was saved.

    A state of a bank has one file, however often it is shown.
    """
    ids = [entry.id for entry in reversed(snapshot.entries[-SHOWN:])]
    name = f"diversity_memory_{hashlib.sha256(chr(10).join(ids).encode()).hexdigest()[:16]}.png"
    path = Path(folder_paths.get_temp_directory()) / name
    try:
        if not path.exists():
            known = snapshot.thumbnails(ids)
            tiles = [Image.fromarray(known[each].numpy()) for each in ids if each in known]
            if not tiles:
                return {}
            path.parent.mkdir(parents=True, exist_ok=True)
            _joined(tiles).save(path)
    except (ValueError, TypeError, OSError) as error:
        # Whoever reads the latents tells of damage; a strip is not worth a run.
        logger.warning("The newest images of the bank '%s' could not be shown: %s", snapshot.name, error)
        return {}
    return {"images": [{"filename": name, "subfolder": "", "type": "temp"}], "animated": (False,)}


def _joined(tiles: list[Image.Image]) -> Image.Image:
    """The tiles in rows of ``COLUMNS``, each at most ``SIDE`` wide and high, on a transparent ground."""
    columns, rows = min(len(tiles), COLUMNS), -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGBA", (columns * (SIDE + GAP) - GAP, rows * (SIDE + GAP) - GAP))
    for place, tile in enumerate(tiles):
        scale = SIDE / max(tile.size)
        fitted = tile.resize([max(round(side * scale), 1) for side in tile.size])
        left, top = place % COLUMNS * (SIDE + GAP), place // COLUMNS * (SIDE + GAP)
        sheet.paste(fitted, (left + (SIDE - fitted.width) // 2, top + (SIDE - fitted.height) // 2))
    return sheet
