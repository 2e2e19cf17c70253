"""``diversity-guidance bench spread``: known modes reached when Feature Guidance spreads a batch.

Modes are counted as ``bench modes`` does. What images are spread along comes from draws of the same prompt at CFG 1,
from a seed that no row draws from.
"""

from __future__ import annotations

import argparse
from functools import cache

from torch import Tensor

from ...embedded.model import EmbeddedModel
from ...guidance.activations.guidance import FeatureGuidance
from ...guidance.activations.settings import RECOMMENDED_STRENGTH, FeatureSettings
from ..modes import (
    WINDOW,
    Draw,
    Row,
    add_size_arguments,
    in_one_batch,
    run_rows,
)
from .steering import every_layer, own_draws, steered

REFERENCE_SEED = 77
REFERENCES = (16, 32)
"""Draws at CFG 1 that say what images differ in."""

STRENGTHS = (0.5, 1.0, RECOMMENDED_STRENGTH, 3.0)


# One reference serves all seeds and strengths.
_reference = cache(own_draws)


def spread(strength: float, draws: int = 0) -> Draw:
    """Spread along the axes of so many draws, or dilated where there are none."""

    def draw(model: EmbeddedModel, row: Row, prompt: str, seed: int, count: int, steps: int) -> Tensor:
        reference = _reference(model, prompt, draws, REFERENCE_SEED, steps) if draws else None
        settings = FeatureSettings("spread", strength, WINDOW)
        guidance = FeatureGuidance(settings, every_layer(model), None, reference)
        with steered(model, guidance) as steering:
            return steering.sample([prompt] * count, seed, steps=steps, cfg=row.cfg, guidance=guidance)

    return draw


ROWS: tuple[tuple[Row, Draw], ...] = (
    (Row("none", 5.0), in_one_batch),
    (Row(f"dilated, strength {RECOMMENDED_STRENGTH:g}", 5.0), spread(RECOMMENDED_STRENGTH)),
    *((Row(f"along axes of {draws} draws", 5.0), spread(RECOMMENDED_STRENGTH, draws)) for draws in REFERENCES),
    *(
        (Row(f"along axes of {REFERENCES[-1]} draws, strength {strength:g}", 5.0), spread(strength, REFERENCES[-1]))
        for strength in STRENGTHS
        if strength != RECOMMENDED_STRENGTH
    ),
    (Row("none", 2.0), in_one_batch),
    (Row(f"along axes of {REFERENCES[-1]} draws", 2.0), spread(RECOMMENDED_STRENGTH, REFERENCES[-1])),
    (Row("none", 1.0), in_one_batch),
    (Row(f"along axes of {REFERENCES[-1]} draws", 1.0), spread(RECOMMENDED_STRENGTH, REFERENCES[-1])),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    add_size_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure every row and print the table as it grows."""
    return run_rows(ROWS, arguments)
