"""The embedded transformer with a trainable low-rank difference in every linear layer (LoRA, arXiv 2106.09685)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..lora import PREFIX
from ..text import TextEncoder
from ..transformer import from_native, to_native


class LowRankStudent:
    """Frozen weights plus up @ down in every linear layer, of which the latter is trained.

    Attributes:
        parameters: the matrices, `down` and `up` in turn.
    """

    def __init__(self, network: nn.Module, text: TextEncoder, rank: int, generator: torch.Generator) -> None:
        self._network, self._text = network, text
        self._base = to_native(network.state_dict())
        self._layers = linear_layers(self._base)
        self.parameters: list[Tensor] = []
        for layer in self._layers:
            rows, columns = self._base[f"{layer}.weight"].shape
            size = min(rank, rows, columns)
            down = torch.randn(size, columns, generator=generator) * columns**-0.5
            self.parameters += [down.requires_grad_(), torch.zeros(rows, size).requires_grad_()]

    @torch.no_grad()
    def start_near(self, weights: Mapping[str, Tensor]) -> None:
        """Take the nearest differences of the rank to other weights with native keys."""
        for layer, down, up in self._differences():
            name = f"{layer}.weight"
            nearest_up, nearest_down = factorize(weights[name].float() - self._base[name], len(down))
            down.copy_(nearest_down)
            up.copy_(nearest_up)

    def weights(self) -> dict[str, Tensor]:
        """The network's weights with the differences, as its own keys; gradients flow to `parameters`."""
        merged = dict(self._base)
        for layer, down, up in self._differences():
            merged[f"{layer}.weight"] = merged[f"{layer}.weight"] + up @ down
        return from_native(merged)

    def velocity(self, x: Tensor, sigma: Tensor, tokens: Tensor) -> Tensor:
        """Velocity (B, C, H, W) of latents at noise levels (B,) for tokens (B, 8)."""
        context, pooled = self._text(tokens)
        arguments = (x, context, pooled, 1000 * sigma)
        return functional_call(self._network, self.weights(), arguments, {"return_dict": False})[0]

    def tensors(self) -> dict[str, Tensor]:
        """The differences in ComfyUI's keys."""
        stored = {}
        for layer, down, up in self._differences():
            stored[f"{PREFIX}{layer}.lora_down.weight"] = down.detach()
            stored[f"{PREFIX}{layer}.lora_up.weight"] = up.detach()
            stored[f"{PREFIX}{layer}.alpha"] = torch.tensor(float(len(down)))
        return stored

    def _differences(self) -> list[tuple[str, Tensor, Tensor]]:
        return list(zip(self._layers, self.parameters[::2], self.parameters[1::2], strict=True))


def linear_layers(weights: Mapping[str, Tensor]) -> list[str]:
    """Names of the layers of a transformer with native keys whose weights are matrices."""
    return [
        key.removesuffix(".weight") for key, value in weights.items() if key.endswith(".weight") and value.ndim == 2
    ]


def factorize(difference: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The nearest matrix of a rank to a difference (out, in), as up (out, rank) and down (rank, in)."""
    u, s, v = torch.linalg.svd(difference.double(), full_matrices=False)
    root = s[:rank].sqrt()
    return (u[:, :rank] * root).to(difference), (root[:, None] * v[:rank]).to(difference)
