"""Hooks that show or replace the image's activations in the layers of a denoiser, while a context is open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .layers import Layer

Visit = Callable[[Layer, Tensor], Tensor]
"""Receives the image's activations of a layer and returns their replacement, or the very same tensor."""


class LayerHooks:
    """A context in which a function visits every layer as it runs.

    Args:
        layers: all layers of the network; some tell how many tokens of a sequence are the image's.
        wanted: names of the layers to visit.
        visit: called once for each wanted layer and evaluation.
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
            if family.image_position is None:
                self._counts[family.blocks] = image.shape[1]
            if layer.name not in self._wanted:
                return None
            changed = self._visit(layer, image)
            return None if changed is image else layer.replaced(output, changed)

        return seen
