"""The map from raw latents to a model's space, found by asking it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from diversity_guidance.guidance.latent_map import LatentMap
from torch import Tensor

from .conftest import noise

SHAPE = (4, 3, 5)
STD = torch.tensor([0.5, 2.0, 3.0, 1.0]).view(-1, 1, 1)
MEAN = torch.tensor([0.1, -0.2, 0.3, 0.0]).view(-1, 1, 1)

MAPS: dict[str, tuple[Callable[[Tensor], Tensor], float, bool]] = {
    "one factor": (lambda raw: raw * 0.18215, 0.18215, True),
    "shift and scale": (lambda raw: (raw - 0.0609) * 1.5305, 1.5305, True),
    "a scale for each channel": (lambda raw: (raw - MEAN) / STD, 1 / 3, False),
    "a negative scale": (lambda raw: 1 - 2 * raw, 2.0, True),
}


@pytest.mark.parametrize("name", MAPS)
def test_distances_are_at_least_so_many_times_those_of_raw_latents(name: str) -> None:
    to_model_space, smallest, uniform = MAPS[name]
    found = LatentMap.fit(to_model_space, SHAPE)
    assert found is not None
    assert found.smallest == pytest.approx(smallest, rel=1e-3)
    assert found.is_uniform == uniform
    raw = noise(1, 6, SHAPE)
    points = to_model_space(raw).flatten(1)
    torch.testing.assert_close(found.to_raw(points), raw.flatten(1), rtol=1e-4, atol=1e-4)
    apart, apart_raw = torch.pdist(points), torch.pdist(raw.flatten(1))
    assert bool((apart >= found.smallest * apart_raw * (1 - 1e-5)).all())


@pytest.mark.parametrize(
    "to_model_space",
    [
        lambda raw: raw.flip(1),
        lambda raw: raw**3,
        lambda raw: raw * 0,
        lambda raw: raw * torch.tensor([1.0, 0.0, 1.0, 1.0]).view(-1, 1, 1),
        lambda raw: raw[:, :2],
        lambda raw: raw * torch.nan,
    ],
    ids=["mixes", "bends", "forgets all", "forgets a channel", "another shape", "no number"],
)
def test_other_maps_are_told_apart(to_model_space: Callable[[Tensor], Tensor]) -> None:
    assert LatentMap.fit(to_model_space, SHAPE) is None
