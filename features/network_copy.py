"""Copy a network that a host has loaded, with float32 weights of its own."""

from __future__ import annotations

from collections.abc import Collection
from types import MethodType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

_Network = TypeVar("_Network", bound=nn.Module)


def network_copy(network: _Network, device: torch.device | str, left_out: Collection[str] = ()) -> _Network:
    """Copy a network for evaluation, with frozen float32 weights.

    ``copy.deepcopy`` also copies what a host attaches to modules, such as handles of native memory, which two owners
    would free twice. Here only modules, tensors and plain containers are copied; all other objects are shared.

    Args:
        network: on any device, in any precision, made in inference mode or not; it is not changed.
        device: of the copy's weights.
        left_out: module attributes that are not copied.
    """
    with torch.inference_mode(False):
        copied: _Network = _Copying(device, frozenset(left_out)).module(network)
        return copied.eval()


class _Copying:
    """One copy in progress: what is shared in the network is shared in the copy."""

    def __init__(self, device: torch.device | str, left_out: frozenset[str]) -> None:
        self.device = device
        self.left_out = left_out
        self.made: dict[int, Any] = {}

    def module(self, module: Any) -> Any:
        if id(module) not in self.made:
            made = self.made[id(module)] = module.__class__.__new__(module.__class__)
            own = {name: value for name, value in vars(module).items() if name not in self.left_out}
            for name, value in own.items():
                made.__dict__[name] = self.value(value)
            made.__dict__["_parameters"] = {name: self.weight(value) for name, value in own["_parameters"].items()}
            made.__dict__["_buffers"] = {name: self.weight(value) for name, value in own["_buffers"].items()}
        return self.made[id(module)]

    def weight(self, weight: Tensor | None) -> Tensor | None:
        if weight is None:
            return None
        if id(weight) not in self.made:
            # A host may leave weights that are missing from a file on the meta device, and treats them as zeros.
            plain = torch.zeros_like(weight, device=self.device) if weight.is_meta else weight.detach()
            dtype = torch.float32 if weight.is_floating_point() else weight.dtype
            values = plain.to(self.device, dtype, copy=True)
            is_parameter = isinstance(weight, nn.Parameter)
            self.made[id(weight)] = nn.Parameter(values, requires_grad=False) if is_parameter else values
        return self.made[id(weight)]

    def value(self, value: Any) -> Any:
        """Copy an attribute of a module."""
        if isinstance(value, nn.Module):
            return self.module(value)
        if isinstance(value, Tensor):
            return value.detach().clone()
        if isinstance(value, MethodType) and isinstance(value.__self__, nn.Module):
            return MethodType(value.__func__, self.module(value.__self__))
        if isinstance(value, dict):
            made = value.copy()
            made.update((key, self.value(each)) for key, each in value.items())
            return made
        for container in (list, tuple, set):
            if type(value) is container:
                return container(self.value(each) for each in value)
        return value
