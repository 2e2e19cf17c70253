"""The coarse bound of a Protected Index: no pair that is near is passed over, whatever the batch."""

from __future__ import annotations

import numpy as np
import pytest
from diversity_guidance.stores.protected.search.bounds import FAR, Projected
from diversity_guidance.stores.protected.search.coarse import CoarseTable
from diversity_guidance.stores.protected.search.product import SCAN_ROWS

COUNT = 2 * SCAN_ROWS + 77
COORDINATES = 40


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    """Clustered coordinates of references, by falling variance, the last one a norm."""
    generator = np.random.default_rng(0)
    centres = 8 * generator.standard_normal((50, COORDINATES))
    drawn = centres[generator.integers(50, size=COUNT)] + generator.standard_normal((COUNT, COORDINATES))
    drawn *= 0.8 ** np.arange(COORDINATES)
    drawn[:, -1] = np.abs(drawn[:, -1])
    return drawn


def filled(points: np.ndarray, coordinates: int) -> CoarseTable:
    """The table of all references, filled in two goes."""
    table = CoarseTable.empty(len(points), coordinates)
    table.fill(slice(0, 1000), points[:1000])
    table.fill(slice(1000, len(points)), points[1000:])
    return table.ordered(float(np.linalg.norm(points, axis=1).max()))


@pytest.mark.parametrize("batch", [1, 3, 8, 9, 17])
@pytest.mark.parametrize("coordinates", [5, 16, 32])
def test_every_pair_that_is_near_is_found(points: np.ndarray, batch: int, coordinates: int) -> None:
    table = filled(points, coordinates)
    asked = points[:: COUNT // batch][:batch] + 0.1
    distances = np.sqrt(((asked[:, None] - points) ** 2).sum(2))
    within = np.quantile(distances, np.linspace(0.0005, 0.01, batch), axis=1).diagonal()
    found = table.scan(Projected(asked, np.linalg.norm(asked, axis=1)), within)
    pairs = set(zip(found.rows.tolist(), found.numbers.tolist(), strict=True))
    wanted = {(int(row), int(number)) for row, number in np.argwhere(distances < within[:, None])}
    assert wanted <= pairs
    assert len(pairs) == len(found)
    assert (found.bounds <= distances[found.rows, found.numbers] * (1 + 1e-9)).all()
    # A bound that let everything pass would find all, too.
    assert len(found) < 0.2 * batch * COUNT


def test_a_query_that_float32_cannot_compute_is_near_all_or_none(points: np.ndarray) -> None:
    table = filled(points, 32)
    asked = np.zeros((3, COORDINATES))
    norms = np.array([0.0, 2 * FAR, 2 * FAR])
    found = table.scan(Projected(asked, norms), np.array([0.0, FAR, 3 * FAR]))
    assert not (found.rows == 1).any()
    assert sorted(found.numbers[found.rows == 2].tolist()) == list(range(COUNT))
