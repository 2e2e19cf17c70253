"""Start and end of the active part: one rule for every method."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from diversity_guidance.guidance.activations.guidance import FeatureGuidance
from diversity_guidance.guidance.activations.layers import Family, Layer
from diversity_guidance.guidance.activations.settings import FeatureSettings
from diversity_guidance.guidance.base import SamplingStep
from diversity_guidance.guidance.limits import SigmaInterval
from diversity_guidance.guidance.repellency.guidance import RepellencySettings, SparseRepellency
from diversity_guidance.guidance.vendi.guidance import VendiGuidance
from diversity_guidance.guidance.vendi.settings import VendiSettings
from torch import Tensor

from .conftest import Driver, noise

EVALUATIONS = ((1.0, 0.9), (0.8, 0.5), (0.6, 0.0), (0.3, 0.1), (0.299, 0.1), (0.1, 0.0))
INSIDE = [False, True, True, True, False, False]
"""Whether each lies in [0.3, 0.8], whatever its step leads to."""


def alike() -> Tensor:
    return noise(0, 1).repeat(3, 1, 1, 1) + 0.1 * noise(1, 3)


def repelled(interval: SigmaInterval) -> Callable[[float, float], Tensor]:
    guidance = Driver().begin(SparseRepellency(RepellencySettings(interval=interval)))
    return lambda sigma, following: guidance(alike(), at(sigma, following)) - alike()


def diversified(interval: SigmaInterval) -> Callable[[float, float], Tensor]:
    guidance = Driver().begin(VendiGuidance(VendiSettings(interval=interval)))
    return lambda sigma, following: guidance(alike(), at(sigma, following)) - alike()


def shifted(interval: SigmaInterval) -> Callable[[float, float], Tensor]:
    guidance = FeatureGuidance(FeatureSettings("spread", 1.0, interval), {"layer": 1.0})
    Driver().begin(guidance)
    layer, features = Layer("layer", torch.nn.Identity(), Family("layers"), 1), noise(2, 3)

    def act(sigma: float, following: float) -> Tensor:
        guidance.open_pass(sigma, [slice(0, 3)])
        found = guidance.visit(layer, features) - features
        guidance.close_pass()
        return found

    return act


def at(sigma: float, following: float) -> SamplingStep:
    estimates = alike()
    return replace(Driver.step(estimates, sigma), next_sigma=following)


@pytest.mark.parametrize("method", [repelled, diversified, shifted])
def test_an_evaluation_inside_is_guided_in_full_and_no_other_at_all(
    method: Callable[[SigmaInterval], Callable[[float, float], Tensor]],
) -> None:
    limited, always = method(SigmaInterval(0.8, 0.3)), method(SigmaInterval(math.inf, 0.0))
    for (sigma, following), inside in zip(EVALUATIONS, INSIDE, strict=True):
        whole, found = always(sigma, following), limited(sigma, following)
        assert whole.any()
        torch.testing.assert_close(found, whole if inside else torch.zeros_like(whole))


def test_levels_rounded_to_half_precision_stay_inside() -> None:
    rounded = {level: float(torch.tensor(level, dtype=torch.float16)) for level in (0.9, 0.7)}
    assert rounded[0.9] < 0.9 and rounded[0.7] > 0.7
    assert rounded[0.9] in SigmaInterval(low=0.9)
    assert rounded[0.7] in SigmaInterval(high=0.7)
    assert 0.9 * (1 - 1e-3) not in SigmaInterval(low=0.9)
    assert 0.7 * (1 + 1e-3) not in SigmaInterval(high=0.7)
