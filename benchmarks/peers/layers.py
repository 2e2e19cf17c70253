"""Other methods that change the network's layers, from their equations; see ``conditioning``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ...embedded.model import EmbeddedModel
from ...kernels.vendi import log_vendi_gradient
from .conditioning import unshifted

Change = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Maps a block's output, (text stream (B, T, C), image stream (B, N, C)), to another."""


class ChangedLayers(nn.Module):
    """A denoiser with a change applied to the outputs of some blocks at high noise levels.

    Args:
        transformer: the denoiser; its blocks are hooked during a call only.
        change: of both streams.
        blocks: which blocks; never the last, which has no text stream.
        until: time, falling from 1 to 0 in even steps, down to which it acts.
        empty: tokens of the empty prompt, for which nothing changes, shape (8, 128).
    """

    def __init__(self, transformer: nn.Module, change: Change, blocks: range, until: float, empty: Tensor) -> None:
        super().__init__()
        self.transformer, self.change, self.blocks, self.until, self.empty = transformer, change, blocks, until, empty

    def forward(self, x: Tensor, tokens: Tensor, pooled: Tensor, times: Tensor, return_dict: bool = False) -> Any:
        """The same as the denoiser's."""
        acts = unshifted(float(times[0]) / 1000) > self.until and not torch.equal(tokens[0], self.empty)
        blocks = list(self.transformer.get_submodule("transformer_blocks").children()) if acts else []
        hooks = [blocks[at].register_forward_hook(self._hook) for at in self.blocks if at < len(blocks) - 1]
        try:
            return self.transformer(x, tokens, pooled, times, return_dict=return_dict)
        finally:
            for hook in hooks:
                hook.remove()

    def _hook(self, _: nn.Module, __: Any, streams: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return self.change(*streams)


def with_changed_layers(model: EmbeddedModel, change: Change, blocks: range, until: float) -> EmbeddedModel:
    """The model with a change in its layers."""
    empty = model.text.encode([""])[0][0]
    return replace(model, transformer=ChangedLayers(model.transformer, change, blocks, until, empty))


def attenuated_means(strength: float) -> Change:
    """DAVE: subtract a fraction of each channel's spatial mean from the image stream."""

    def change(text: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        return text, image - strength * image.mean(1, keepdim=True)

    return change


def repelled_context(step: float) -> Change:
    """Contextual-space repulsion (arXiv 2603.28762): the text stream ascends the batch's Vendi entropy.

    The gradient is of the cosine kernel on flattened tokens; each sample moves by ``step`` of its own length.
    """

    def change(text: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        if len(text) < 2:
            return text, image
        rows = text.flatten(1)
        units = torch.nn.functional.normalize(rows, dim=1)
        uphill = torch.nn.functional.normalize(log_vendi_gradient(units), dim=1)
        return text + (step * rows.norm(dim=1, keepdim=True) * uphill).view_as(text), image

    return change
