"""Drawings that Vendi Guidance steers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .graphs import Drawing, Node, latents_of
from .host_client import HostClient

VENDI: dict[str, Any] = {
    "preset": "custom",
    "strength": 0.3,
    "alpha": 1.0,
    "beta": 1.0,
    "relaxation": 0.0,
    "features": "latents",
    "start_percent": 0.0,
    "end_percent": 1.0,
    "frequency": 1,
    "in_batch": True,
    "kernel": "gaussian",
    "bandwidth": 0.2,
    "order": 1.0,
    "measure": "conditional",
    "neighbours": 128,
    "project": True,
    "cap_update": 1.0,
    "cap_estimate": 1.0,
}
"""Settings that show."""


@dataclass
class Spreading(Drawing):
    """A drawing that Vendi Guidance steers."""

    def vendi(self, model: Any = None, **settings: Any) -> Node:
        """Patch the model (default: the plain one) with Vendi Guidance."""
        return self.add("DiversityVendiGuidance", model=model or self.demo[0], **{**VENDI, **settings})

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
