"""Hooks on the layers of a denoiser: whoever wants to see or change the image's activations, for as long as a context
is open and not a moment longer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .layers import Layer

Visit = Callable[[Layer, Tensor], Tensor]
"""Shown the image's activations of a layer; what it returns takes their place, the very tensor leaves them alone."""


class LayerHooks:
    """A context in which a function visits every layer as it runs.

    Args:
        layers: of the network, all of them: some tell how much of a sequence is the image.
        wanted: names of those to be visited.
        visit: called once a wanted layer and evaluation.
    """

    def __init__(self, layers: Sequence[Layer], wanted: Sequence[str], visit: Visit) -> None:
        self._visit = visit
        self._wanted = set(wanted)
        counters = {layer.family.counted_by for layer in layers if layer.name in self._wanted}
        self._layers = [layer for layer in layers if layer.name in self._wanted or layer.family.blocks in counters]
        self._counts: dict[str, int] = {}
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> LayerHooks:
        self._handles = [layer.module.register_forward_hook(self._hook(layer)) for layer in self._layers]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _hook(self, layer: Layer) -> Callable[[nn.Module, Any, Any], Any]:
        family = layer.family

        def seen(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            count = None if family.counted_by is None else self._counts.get(family.counted_by)
            image = layer.image(output, count)
            if image is None:
                return None
            if family.joined is None:
                self._counts[family.blocks] = image.shape[1]
            if layer.name not in self._wanted:
                return None
            changed = self._visit(layer, image)
            return None if changed is image else layer.replaced(output, changed)

        return seen
