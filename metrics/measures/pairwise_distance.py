"""Pairwise distances and near-duplicates as measures."""

from __future__ import annotations

import math
from collections.abc import Mapping

from .measure import Measure
from .pairs import Pair, PairScan


def distance_measures(scan: PairScan, closest: Pair | None, space: str, count: int, note: str) -> list[Measure]:
    """Mean and smallest distance.

    Args:
        scan: of all pairs.
        closest: the closest pair.
        space: tag of the feature space.
        count: number of images compared.
        note: for every measure.
    """
    if closest is None:
        smallest = Measure("smallest_distance", None, space, count, note="Two images are needed for a distance.")
    else:
        smallest = Measure("smallest_distance", closest.distance, space, count, note=note)
    return [mean_measure(scan, space, count, note), smallest]


def duplicate_measures(
    pairs: int, kept: int, limit: Mapping[str, float], space: str, count: int, note: str
) -> list[Measure]:
    """Numbers of near-duplicate pairs and of images without near-duplicates among them.

    Args:
        pairs: number of pairs of near-duplicates.
        kept: number of images without near-duplicates among them.
        limit: what a near-duplicate is: the name of a number, and its limit.
        space: tag of the feature space.
        count: number of images compared.
        note: for every measure.
    """
    return [
        Measure("near_duplicate_pairs", pairs, space, count, parameters=limit, note=note),
        Measure("different_images", kept, space, count, parameters=limit, note=note),
    ]


def mean_measure(scan: PairScan, space: str, count: int, note: str) -> Measure:
    """Mean distance of all pairs, with an interval for three or more images."""
    mean, error = scan.mean, scan.error
    if math.isnan(mean):
        return Measure("mean_distance", None, space, count, note="Two images are needed for a distance.")
    if math.isnan(error):
        return Measure("mean_distance", mean, space, count, note=note)
    lower, upper = max(0.0, mean - 1.96 * error), min(2.0, mean + 1.96 * error)
    interval = "95 % jackknife interval"
    return Measure("mean_distance", mean, space, count, lower=lower, upper=upper, interval=interval, note=note)
