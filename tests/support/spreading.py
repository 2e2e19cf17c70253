"""Drawings that Vendi Guidance steers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .graphs import Drawing, Graph, Node, latents_of
from .host_client import HostClient

VENDI: dict[str, Any] = {
    "preset": "balanced",
    "strength": 1.5,
    "keep_apart": "batch and bank",
    "features": "latents",
    "start_percent": 0.0,
    "end_percent": 1.0,
}
PUSH: dict[str, Any] = {
    "alpha": 1.0,
    "beta": 1.0,
    "cfg_easing": 0.0,
    "frequency": 1,
    "measure": "conditional",
    "norm_clip": 1.0,
}
SCORE: dict[str, Any] = {"kernel": "gaussian", "bandwidth": 0.2, "order": 1.0, "neighbours": 128, "project": "on"}
"""Settings that show."""


def spread_out(graph: Graph, model: Any, **settings: Any) -> Node:
    """Patch a model with Vendi Guidance; ``in_batch`` is short for what is kept apart."""
    if "in_batch" in settings:
        settings["keep_apart"] = "batch and bank" if settings.pop("in_batch") else "bank only"
    push, score = ({name: settings.pop(name, value) for name, value in kind.items()} for kind in (PUSH, SCORE))
    if settings.get("preset") != "paper":
        first = graph.add("DiversityVendiScoreOptions", **score)
        settings["options"] = graph.add("DiversityVendiGuidanceOptions", options=first, **push)
    return graph.add("DiversityVendiGuidance", model=model, **{**VENDI, **settings})


@dataclass
class Spreading(Drawing):
    """A drawing that Vendi Guidance steers."""

    def vendi(self, model: Any = None, **settings: Any) -> Node:
        """Patch the model (default: the plain one) with Vendi Guidance."""
        return spread_out(self, model or self.demo[0], **settings)

    def decoded(self, samples: Any) -> Node:
        """Pictures on a wire."""
        return self.add("VAEDecode", samples=samples, vae=self.demo[2])

    def remembered(self, **settings: Any) -> Node:
        """A bank on a wire that holds two pictures."""
        samples = self.sample(seed=5)
        images = self.decoded(samples)
        return self.add("DiversityRemember", samples=samples, model=self.demo[0], name="", images=images, **settings)

    def trace_of(self, steered: Node, samples: Any) -> Node:
        """What the trace says of these samples, as text."""
        return self.add("TestTrace", samples=samples, trace=steered[1], model=self.demo[0])


def drawn(client: HostClient, patch: Callable[[Spreading], Node | None], batch: int = 2, **sampler: Any) -> Tensor:
    """Final latents of the embedded model, patched."""
    graph = Spreading()
    saved = graph.latents(graph.sample(patch(graph), batch=batch, **sampler))
    return latents_of(client, client.run(graph.prompt), saved)


def visibly_moved(before: Tensor, after: Tensor) -> bool:
    """Whether every picture is another; by how much depends on the model's weights."""
    lengths = (after - before).flatten(1).norm(dim=1)
    return bool(after.isfinite().all()) and bool((lengths > 0.02 * before.flatten(1).norm(dim=1)).all())
