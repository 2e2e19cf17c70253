"""Fidelity to real images: precision, recall, density, coverage and Fréchet distance as measures."""

from __future__ import annotations

import math

from torch import Tensor

from ...kernels.frechet import frechet_distance
from ...kernels.manifold import prdc
from .measure import Measure
from .subsample import sample_note, sample_rows

_SCORES = ("precision", "recall", "density", "coverage")
# With fewer images the scores still vary much from set to set (prdc's authors, issue 3).
_ENOUGH = 1000


def fidelity_measures(features: Tensor, references: Tensor, space: str, neighbours: int) -> list[Measure]:
    """Measure generated images against real ones.

    Args:
        features: (n, d) unit rows of the images.
        references: (m, d) unit rows of the reference images.
        space: tag of the feature space.
        neighbours: k; an image's ball reaches to its k-th nearest neighbour.

    Returns:
        Precision, recall, density, coverage and Fréchet distance; undefined ones carry the reason.
    """
    return [*_manifold_measures(features, references, space, neighbours), _frechet_measure(features, references, space)]


def _manifold_measures(features: Tensor, references: Tensor, space: str, neighbours: int) -> list[Measure]:
    count, reference_count = len(features), len(references)
    parameters = {"neighbours": neighbours}
    if min(count, reference_count) <= neighbours:
        note = (
            f"{neighbours} neighbours need at least {neighbours + 1} images and as many references, "
            f"got {count} and {reference_count}."
        )
        return [
            Measure(name, None, space, count, reference_count, parameters=parameters, note=note) for name in _SCORES
        ]
    rows, reference_rows = sample_rows(count), sample_rows(reference_count)
    scores = prdc(references[reference_rows], features[rows], neighbours)
    notes = [sample_note(len(rows), count), sample_note(len(reference_rows), reference_count)]
    if min(count, reference_count) < _ENOUGH:
        notes.append(f"Below {_ENOUGH:,} images compare only sets of the same size.")
    note = " ".join(filter(None, notes))
    trials = {"precision": len(rows), "recall": len(reference_rows)}
    measures = []
    for name, value in scores._asdict().items():
        lower, upper = wilson_interval(value, trials[name]) if name in trials else (None, None)
        measures.append(
            Measure(
                name,
                value,
                space,
                len(rows),
                len(reference_rows),
                lower=lower,
                upper=upper,
                interval="95 % Wilson interval, the other set taken as fixed" if name in trials else "",
                parameters=parameters,
                note=note,
            )
        )
    return measures


def _frechet_measure(features: Tensor, references: Tensor, space: str) -> Measure:
    count, reference_count, dimension = len(features), len(references), features.shape[1]
    if min(count, reference_count) < 2:
        note = f"A Fréchet distance needs two images and two references, got {count} and {reference_count}."
        return Measure("frechet_distance", None, space, count, reference_count, note=note)
    rows, reference_rows = sample_rows(count), sample_rows(reference_count)
    notes = [sample_note(len(rows), count), sample_note(len(reference_rows), reference_count)]
    if min(count, reference_count) <= dimension:
        notes.append(f"At most {dimension} images for {dimension} features: too few, it comes out too large.")
    value = frechet_distance(features[rows], references[reference_rows])
    note = " ".join(filter(None, notes))
    return Measure("frechet_distance", value, space, len(rows), len(reference_rows), note=note)


def wilson_interval(share: float, trials: int, deviations: float = 1.96) -> tuple[float, float]:
    """Confidence interval of a probability from the share of successes (Wilson 1927).

    Args:
        share: successes over trials, 0 to 1.
        trials: at least 1.
        deviations: of the normal distribution; 1.96 for 95 %.
    """
    square = deviations**2 / trials
    centre = (share + square / 2) / (1 + square)
    half = math.sqrt(share * (1 - share) * square + square**2 / 4) / (1 + square)
    return max(0.0, centre - half), min(1.0, centre + half)
