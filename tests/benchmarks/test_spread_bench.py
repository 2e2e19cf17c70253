"""``bench spread``: rows that draw what they say."""

from __future__ import annotations

import pytest
import torch
from diversity_guidance.benchmarks.features.spread import ROWS, spread
from diversity_guidance.benchmarks.modes import in_one_batch
from diversity_guidance.embedded.model import EmbeddedModel

PROMPT, SEED, STEPS = "doctor", 3, 8


@pytest.fixture(scope="module")
def model() -> EmbeddedModel:
    return EmbeddedModel.load()


def test_a_reference_makes_another_spread_than_dilation(model: EmbeddedModel) -> None:
    row = next(row for row, _ in ROWS if row.cfg == 5)
    plain, dilated, along = (
        draw(model, row, PROMPT, SEED, 4, STEPS) for draw in (in_one_batch, spread(1.5), spread(1.5, 6))
    )
    assert not torch.allclose(along, plain, atol=0.1)
    assert not torch.allclose(along, dilated, atol=0.1)


def test_no_strength_changes_no_bit(model: EmbeddedModel) -> None:
    row = ROWS[0][0]
    plain, off = (draw(model, row, PROMPT, SEED, 2, 2) for draw in (in_one_batch, spread(0.0, 6)))
    assert torch.equal(plain, off)


def test_rows_have_names_of_their_own() -> None:
    names = [(row.name, row.cfg) for row, _ in ROWS]
    assert len(set(names)) == len(names)
