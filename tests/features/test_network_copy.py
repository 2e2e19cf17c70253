"""Copies of networks that a host has loaded."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diversity_guidance.features.network_copy import network_copy
from torch import Tensor, nn


class Native:
    """Owns memory that is freed with it, so that a copy would free it twice."""

    def __init__(self, freed: list[str]) -> None:
        self.freed = freed

    def __deepcopy__(self, memo: dict[int, Any]) -> Native:
        raise AssertionError("a native owner was copied")

    def __del__(self) -> None:
        self.freed.append("freed")


class Network(nn.Module):
    """All that the host's networks do: nested, tied, unregistered, bound, with hooks and buffers of several kinds."""

    def __init__(self, native: Native) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.again = self.first
        self.layers = nn.ModuleList([nn.Linear(4, 4), nn.GroupNorm(2, 4)])
        self.layers[0].tied = self.first.bias
        self.unregistered = [nn.Linear(4, 2)]
        self.apply_last = self.unregistered[0].forward
        self.register_buffer("scale", torch.full((1,), 2.0))
        self.register_buffer("steps", torch.tensor([3]))
        self.shift = torch.tensor(1.0)
        self.absent = nn.Linear(2, 2, bias=False)
        self.dynamic = {"owner": (native, [])}
        self.loader_state = "of the host"

    def forward(self, values: Tensor) -> Tensor:
        values = self.again(values)
        for layer in self.layers:
            values = layer(values)
        return self.apply_last(values * self.scale + self.shift)


@pytest.fixture
def freed() -> list[str]:
    return []


@pytest.fixture
def network(freed: list[str]) -> Network:
    with torch.inference_mode(), torch.random.fork_rng():
        torch.manual_seed(0)
        return Network(Native(freed)).half().float()


def test_it_computes_the_same_with_gradients(network: Network) -> None:
    values = torch.randn((5, 3), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = network(values)
    copied = network_copy(network, "cpu")
    given = values.clone().requires_grad_()
    result = copied(given)
    torch.testing.assert_close(result, expected.clone())
    result.sum().backward()
    assert given.grad is not None and given.grad.any()
    assert not any(parameter.requires_grad for parameter in copied.parameters())
    assert not copied.training


def test_it_owns_its_weights_and_nothing_else(network: Network, freed: list[str]) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    copied = network_copy(network, "cpu", left_out=["loader_state"])
    assert copied.first is copied.again and copied.first is not network.first
    assert copied.layers[0].tied is copied.first.bias
    assert copied.unregistered[0] is not network.unregistered[0]
    assert copied.apply_last.__self__ is copied.unregistered[0]
    assert copied.dynamic["owner"][0] is network.dynamic["owner"][0]
    assert not hasattr(copied, "loader_state") and hasattr(network, "loader_state")
    for parameter in copied.parameters():
        parameter.data.zero_()
    copied.scale.zero_()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    del copied
    assert freed == [], "what the user's network still needs was freed with the copy"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_it_is_in_single_precision(network: Network, dtype: torch.dtype) -> None:
    copied = network_copy(network.to(dtype), "cpu")
    assert {value.dtype for value in copied.state_dict().values()} == {torch.float32, torch.int64}


def test_weights_on_the_meta_device_are_zeros(network: Network) -> None:
    network.first.weight = nn.Parameter(torch.empty((4, 3), device="meta"), requires_grad=False)
    assert not network_copy(network, "cpu").first.weight.any()
