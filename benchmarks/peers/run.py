"""``diversity-guidance bench peers``: other methods on the same prompts and seeds as ``bench modes``.

Every method has several strengths, as its own default is for another model.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from ...embedded.model import EmbeddedModel
from ...guidance.base import Chain, Guidance
from ...guidance.limits import SigmaInterval
from ...guidance.repellency.guidance import RepellencySettings, SparseRepellency
from ...guidance.vendi.guidance import VendiGuidance
from ..modes import (
    WINDOW,
    Row,
    Sample,
    add_size_arguments,
    in_one_batch,
    run_rows,
)
from ..vendi.rows import DEFAULT
from .conditioning import (
    AnnealedConditions,
    Change,
    ChangedConditions,
    IntervalGuidance,
    VariedConditions,
)
from .latents import CompositionPush, EntropyGuidance, ParticleGuidance


def guided(make: Callable[[], Guidance]) -> Sample:
    """Sampling with a fresh guidance for every batch."""

    def sample(model: EmbeddedModel, row: Row, prompt: str, seed: int, count: int, steps: int) -> Tensor:
        return model.sample([prompt] * count, seed, steps=steps, cfg=row.cfg, guidance=make())

    return sample


def conditioned(make: Callable[[int], Change]) -> Sample:
    """Sampling with conditionings changed by a change that is made for each seed."""

    def sample(model: EmbeddedModel, row: Row, prompt: str, seed: int, count: int, steps: int) -> Tensor:
        empty = model.text.encode([""])[0][0]
        changed = replace(model, transformer=ChangedConditions(model.transformer, make(seed), empty))
        return changed.sample([prompt] * count, seed, steps=steps, cfg=row.cfg)

    return sample


def _annealed(scale: float, end: float = 0.6) -> Sample:
    return conditioned(lambda seed: AnnealedConditions(scale, seed, end))


def _varied(strength: float) -> Sample:
    return conditioned(lambda seed: VariedConditions(strength, seed))


def _particles(coefficient: float) -> Sample:
    return guided(lambda: ParticleGuidance(coefficient))


def _entropy(scale: float) -> Sample:
    return guided(lambda: EntropyGuidance(scale))


def _recomposed(strength: float) -> Sample:
    return guided(lambda: CompositionPush(strength))


def _interval(high: float) -> Sample:
    return guided(lambda: IntervalGuidance(SigmaInterval(high=high)))


REPELLENCY = RepellencySettings(interval=WINDOW)

ROWS: tuple[tuple[Row, Sample], ...] = (
    (Row("none", 5.0), in_one_batch),
    (Row("Sparse Repellency", 5.0, REPELLENCY), in_one_batch),
    (Row("Vendi Guidance", 5.0), guided(lambda: VendiGuidance(DEFAULT))),
    *((Row(f"CADS, scale {scale:g}", 5.0), _annealed(scale)) for scale in (0.25, 0.5, 1.0)),
    *((Row(f"CADS, scale 0.25, annealed until time {end:g}", 5.0), _annealed(0.25, end)) for end in (0.3, 0.0)),
    *((Row(f"noise on the conditioning, {strength:g}", 5.0), _varied(strength)) for strength in (1.0, 2.0, 4.0, 8.0)),
    *((Row(f"Particle Guidance, {power:g}", 5.0), _particles(power)) for power in (30.0, 100.0, 300.0, 1000.0, 3000.0)),
    *((Row(f"SPARKE, {scale:g}", 5.0), _entropy(scale)) for scale in (0.03, 0.1, 0.2, 0.4)),
    *((Row(f"DiversityBoost, {strength:g}", 5.0), _recomposed(strength)) for strength in (0.5, 1.0, 2.0)),
    *((Row(f"interval guidance, below sigma {high:g}", 5.0), _interval(high)) for high in (0.9, 0.8, 0.6, 0.4, 0.2)),
    (
        Row("interval guidance, below sigma 0.4, and Sparse Repellency", 5.0),
        guided(lambda: Chain([IntervalGuidance(SigmaInterval(high=0.4)), SparseRepellency(REPELLENCY)])),
    ),
    (Row("none", 1.0), in_one_batch),
    (Row("Sparse Repellency, radius 0.15", 1.0, replace(REPELLENCY, radius=0.15)), in_one_batch),
    *((Row(f"CADS, scale {scale:g}", 1.0), _annealed(scale)) for scale in (0.25, 1.0)),
    *((Row(f"noise on the conditioning, {strength:g}", 1.0), _varied(strength)) for strength in (1.0, 4.0, 8.0)),
    *((Row(f"Particle Guidance, {power:g}", 1.0), _particles(power)) for power in (30.0, 100.0, 300.0)),
    *((Row(f"SPARKE, {scale:g}", 1.0), _entropy(scale)) for scale in (0.03, 0.1)),
    *((Row(f"DiversityBoost, {strength:g}", 1.0), _recomposed(strength)) for strength in (0.5, 1.0, 2.0)),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    add_size_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure every row and print the table as it grows."""
    return run_rows(ROWS, arguments)
