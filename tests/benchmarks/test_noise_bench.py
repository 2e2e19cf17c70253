"""Start noise in the loop without host, and the benchmarks of Diverse Noise at their smallest."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from diversity_guidance.benchmarks.noise import SHAPE, SetResult, summary
from diversity_guidance.cli import main
from diversity_guidance.embedded.judge import Coverage
from diversity_guidance.embedded.model import EmbeddedModel
from support.missing import library


def test_given_noise_is_where_sampling_starts() -> None:
    model = EmbeddedModel.load()
    noise = torch.randn((2, *SHAPE), generator=torch.Generator().manual_seed(3))
    prompts = ["doctor"] * 2
    assert torch.equal(model.sample(prompts, 9, steps=2, noise=noise), model.sample(prompts, 3, steps=2))
    with pytest.raises(ValueError, match="these images need"):
        model.sample(prompts, 9, steps=2, noise=noise[:1])


def test_quantised_latents_decode_to_more_digits(capsys: pytest.CaptureFixture[str]) -> None:
    library("sklearn")
    assert main(["bench", "digits", "--repetitions", "40", "--dimensions", "2"]) == 0
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    distinct = {row[0]: float(row[2].split(" ± ")[0]) for row in rows}
    norms = {row[0]: float(row[3]) for row in rows}
    assert all(distinct[name] > distinct["independent"] + 1 for name in distinct if name != "independent")
    assert norms["A1, each an exact draw"] == pytest.approx(1, abs=0.03)
    assert norms["A1, ideal law"] < 0.95


def test_gains_are_paired() -> None:
    def drawn(modes: Sequence[int]) -> list[SetResult]:
        return [SetResult(Coverage(9, count, count, count, 1.0, 1.0, 0.1, 1.0, 1.0), 0.2) for count in modes]

    outcome = summary(drawn([3, 5, 7]), drawn([1, 3, 5]), "simplex", False, 4, 1.0)
    assert (outcome.modes, outcome.gain, outcome.error) == (5, 2, 0)
