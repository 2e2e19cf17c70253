"""``diversity-guidance bench spread``: known modes reached when Feature Guidance spreads a batch.

Modes are counted as in ``bench modes``. The axes of the spread come from samples of the same prompt at CFG 1, from a
seed that no row uses.
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
    Row,
    Sample,
    add_size_arguments,
    in_one_batch,
    run_rows,
)
from .steering import every_layer, own_samples, steered

REFERENCE_SEED = 77
REFERENCES = (16, 32)
"""Numbers of samples at CFG 1 that give the axes."""

STRENGTHS = (0.5, 1.0, RECOMMENDED_STRENGTH, 3.0)


# One reference serves all seeds and strengths.
_reference = cache(own_samples)


def spread(strength: float, samples: int = 0) -> Sample:
    """Spread along the axes of a number of samples; dilate without any."""

    def sample(model: EmbeddedModel, row: Row, prompt: str, seed: int, count: int, steps: int) -> Tensor:
        reference = _reference(model, prompt, samples, REFERENCE_SEED, steps) if samples else None
        settings = FeatureSettings("spread", strength, WINDOW)
        guidance = FeatureGuidance(settings, every_layer(model), None, reference)
        with steered(model, guidance) as steering:
            return steering.sample([prompt] * count, seed, steps=steps, cfg=row.cfg, guidance=guidance)

    return sample


ROWS: tuple[tuple[Row, Sample], ...] = (
    (Row("none", 5.0), in_one_batch),
    (Row(f"dilated, strength {RECOMMENDED_STRENGTH:g}", 5.0), spread(RECOMMENDED_STRENGTH)),
    *((Row(f"along axes of {samples} samples", 5.0), spread(RECOMMENDED_STRENGTH, samples)) for samples in REFERENCES),
    *(
        (Row(f"along axes of {REFERENCES[-1]} samples, strength {strength:g}", 5.0), spread(strength, REFERENCES[-1]))
        for strength in STRENGTHS
        if strength != RECOMMENDED_STRENGTH
    ),
    (Row("none", 2.0), in_one_batch),
    (Row(f"along axes of {REFERENCES[-1]} samples", 2.0), spread(RECOMMENDED_STRENGTH, REFERENCES[-1])),
    (Row("none", 1.0), in_one_batch),
    (Row(f"along axes of {REFERENCES[-1]} samples", 1.0), spread(RECOMMENDED_STRENGTH, REFERENCES[-1])),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    add_size_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure every row and print the table as it grows."""
    return run_rows(ROWS, arguments)
