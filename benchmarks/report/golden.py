"""Sets of known diversity from the embedded model's real images: which feature space tells how many values vary?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean
from typing import TypeVar

import torch
from torch import Tensor

from ...embedded.reals import Label, RealImages
from ...features.space import FeatureSpace
from ...kernels.vendi import vendi_score_features

ATTRIBUTES = ("skin", "vendor", "gender", "concept")
SET_SIZE = 8
DISTINCT = (1, 2, 4, 8)

_BATCH = 64
T = TypeVar("T")


@dataclass(frozen=True)
class Golden:
    """What the Vendi Score in one feature space says of sets of 8 images of known diversity.

    Attributes:
        attribute: whose distinct values are counted.
        alone: mean score by the number of distinct values, everything else being equal.
        told: share of pairs of sets, one with the next larger number of distinct values than the other, of which the
            more diverse one has the larger score; 0.5 is chance. All other attributes vary at random, but a set keeps
            to one concept unless concepts are counted.
    """

    attribute: str
    alone: dict[int, float]
    told: float


def features_of(space: FeatureSpace, reals: RealImages) -> Tensor:
    """Features (N, d) of all real images."""
    with torch.no_grad():
        return torch.cat([space(reals.images(part)) for part in torch.arange(len(reals.labels)).split(_BATCH)])


def golden_sets(features: Tensor, labels: Sequence[Label], sets: int) -> Iterator[Golden]:
    """Measure every attribute.

    Args:
        features: (N, d) of the real images.
        labels: of the real images.
        sets: number of sets for every number of distinct values, with and without other variation.
    """
    for attribute in ATTRIBUTES:
        # Only concepts that show all values count, so that sets of few and of many values are of the same concepts.
        families = _families(labels, attribute)
        most = max(map(len, families))
        families = [values for values in families if len(values) == most]
        counts = [count for count in DISTINCT if count <= most]
        generator = torch.Generator().manual_seed(0)
        alone, among = {}, []
        for count in counts:
            alone[count] = mean(
                vendi_score_features(features[_alone(labels, attribute, count, generator)]) for _ in range(sets)
            )
            among.append([vendi_score_features(features[_among(families, count, generator)]) for _ in range(sets)])
        told = mean(float(more > fewer) for low, high in pairwise(among) for fewer in low for more in high)
        yield Golden(attribute, alone, told)


def _by_value(labels: Sequence[Label], indices: Sequence[int], attribute: str) -> dict[str, list[int]]:
    """Indices of images by the attribute's value, without those to which it does not apply."""
    found: dict[str, list[int]] = {}
    for index in indices:
        if value := getattr(labels[index], attribute):
            found.setdefault(value, []).append(index)
    return found


def _families(labels: Sequence[Label], attribute: str) -> list[dict[str, list[int]]]:
    """Images by the attribute's value, once for every concept; all images where the attribute is the concept."""
    if attribute == "concept":
        return [_by_value(labels, range(len(labels)), attribute)]
    concepts = _by_value(labels, range(len(labels)), "concept")
    return [_by_value(labels, indices, attribute) for indices in concepts.values()]


def _among(families: Sequence[dict[str, list[int]]], count: int, generator: torch.Generator) -> list[int]:
    """Eight images of so many values, whose other attributes are random."""
    (values,) = _some([values for values in families if len(values) >= count], 1, generator)
    chosen = _some(list(values), count, generator)
    return [_some(values[chosen[place % count]], 1, generator)[0] for place in range(SET_SIZE)]


def _alone(labels: Sequence[Label], attribute: str, count: int, generator: torch.Generator) -> list[int]:
    """Eight images of so many values, all other attributes being equal: of fewer values, images repeat."""
    others: dict[tuple[str, ...], list[int]] = {}
    for index, label in enumerate(labels):
        if getattr(label, attribute):
            rest = label._replace(**{attribute: ""})
            others.setdefault(tuple(rest), []).append(index)
    enough = [indices for indices in others.values() if len({getattr(labels[i], attribute) for i in indices}) >= count]
    first: dict[str, int] = {}
    for index in _some(_some(enough, 1, generator)[0], None, generator):
        first.setdefault(getattr(labels[index], attribute), index)
    chosen = list(first.values())[:count]
    return [chosen[place % count] for place in range(SET_SIZE)]


def _some(items: Sequence[T], count: int | None, generator: torch.Generator) -> list[T]:
    """So many of the items, or all, in random order."""
    return [items[place] for place in torch.randperm(len(items), generator=generator)[:count].tolist()]
