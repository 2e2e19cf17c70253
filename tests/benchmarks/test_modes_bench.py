"""The benchmark of modes draws what its rows say."""

from __future__ import annotations

import pytest
import torch
from diversity_guidance.benchmarks.modes import (
    Row,
    in_one_batch,
    one_by_one,
    wanted_rows,
)
from diversity_guidance.benchmarks.peers.run import ROWS
from diversity_guidance.embedded.model import EmbeddedModel
from diversity_guidance.guidance.repellency.guidance import RepellencySettings

PROMPT, SEED, STEPS = "doctor", 3, 3


@pytest.fixture(scope="module")
def model() -> EmbeddedModel:
    return EmbeddedModel.load()


def test_one_by_one_each_image_keeps_away_from_those_before(model: EmbeddedModel) -> None:
    plain = one_by_one(model, Row("none", 5.0), PROMPT, SEED, 2, STEPS)
    guided = one_by_one(model, Row("far", 5.0, RepellencySettings(radius=0.8)), PROMPT, SEED, 2, STEPS)
    assert torch.equal(guided[0], plain[0])
    assert float((guided[0] - guided[1]).norm()) > float((plain[0] - plain[1]).norm())


def test_in_one_batch_the_first_image_moves_too(model: EmbeddedModel) -> None:
    plain = in_one_batch(model, Row("none", 5.0), PROMPT, SEED, 2, STEPS)
    guided = in_one_batch(model, Row("far", 5.0, RepellencySettings(radius=0.8)), PROMPT, SEED, 2, STEPS)
    assert not torch.equal(guided[0], plain[0])


def test_rows_are_chosen_by_their_names() -> None:
    assert wanted_rows(ROWS, None) == list(ROWS)
    chosen = [row.name for row, _ in wanted_rows(ROWS, ["sparke", "below sigma 0.9"])]
    assert len(chosen) == 7 and all("SPARKE" in name or "0.9" in name for name in chosen)
    with pytest.raises(ValueError, match=r"No row's name has neither or such in it. There are: none; Sparse"):
        wanted_rows(ROWS, ["neither", "such"])
