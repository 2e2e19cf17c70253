"""Graphs in the host's API format, written in Python."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .host_client import HostClient, Prompt, Run

Socket = list[Any]


@dataclass(frozen=True)
class Node:
    """A node of a graph; ``node[slot]`` is one of its outputs."""

    id: str

    def __getitem__(self, slot: int) -> Socket:
        return [self.id, slot]


@dataclass
class Graph:
    """A graph that grows node by node."""

    prompt: Prompt = field(default_factory=dict)

    def add(self, class_type: str, **inputs: Any) -> Node:
        """Add a node; inputs are numbers, texts or other nodes' outputs (a node alone means its first one)."""
        node = Node(str(len(self.prompt) + 1))
        wired = {name: value[0] if isinstance(value, Node) else value for name, value in inputs.items()}
        self.prompt[node.id] = {"class_type": class_type, "inputs": wired}
        return node

    def latents(self, samples: Any) -> Node:
        """Save latents bit for bit."""
        return self.add("SaveLatent", samples=samples, filename_prefix="test")


SAMPLER: dict[str, Any] = {
    "seed": 1,
    "steps": 3,
    "cfg": 5.0,
    "sampler_name": "euler",
    "scheduler": "simple",
    "denoise": 1.0,
}
"""Settings of KSampler that are quick."""

REPELLENCY: dict[str, Any] = {
    "preset": "balanced",
    "strength": 1.0,
    "keep_apart": "batch and bank",
    "end_percent": 1.0,
    "ensure_outside": False,
    "target": 0,
}
REPELLENCY_OPTIONS: dict[str, Any] = {
    "radius": 1.0,
    "absolute_radius": 0.0,
    "cfg_easing": 0.0,
    "measure": "conditional",
    "overlap": "sum",
    "norm_clip": 1.0,
    "start_percent": 0.0,
}
"""Settings of Sparse Repellency that show."""


def repelled(graph: Graph, model: Any, **settings: Any) -> Node:
    """Patch a model with Sparse Repellency; ``in_batch`` is short for what is kept apart."""
    if "in_batch" in settings:
        settings["keep_apart"] = "batch and bank" if settings.pop("in_batch") else "bank only"
    options = {**REPELLENCY_OPTIONS, **{name: settings.pop(name) for name in REPELLENCY_OPTIONS if name in settings}}
    chosen = graph.add("DiversitySparseRepellencyOptions", **options)
    return graph.add("DiversitySparseRepellency", model=model, options=chosen, **{**REPELLENCY, **settings})


@dataclass
class Drawing(Graph):
    """A graph on the embedded model: few steps, few pictures."""

    model: str = "base"

    def __post_init__(self) -> None:
        self.demo = self.add("DiversityDemoModel", model=self.model)

    def repel(self, model: Any = None, **settings: Any) -> Node:
        """Patch the model (default: the plain one) with Sparse Repellency."""
        return repelled(self, model or self.demo[0], **settings)

    def sample(
        self,
        model: Any = None,
        *,
        prompt: str = "woman running",
        batch: int = 2,
        latent: Any = None,
        **sampler: Any,
    ) -> Node:
        """Sample with KSampler, as in ``SAMPLER`` unless said otherwise."""
        return self.add(
            "KSampler",
            model=model or self.demo[0],
            positive=self.encode(prompt),
            negative=self.encode(""),
            latent_image=latent or self.empty(batch),
            **{**SAMPLER, **sampler},
        )

    def half_sample(self, model: Any) -> Node:
        """Sample three of six steps, and return the noise that is left with the result."""
        return self.add(
            "KSamplerAdvanced",
            model=model,
            add_noise="enable",
            noise_seed=1,
            steps=6,
            cfg=5.0,
            sampler_name="euler",
            scheduler="simple",
            positive=self.encode("woman running"),
            negative=self.encode(""),
            latent_image=self.empty(2),
            start_at_step=0,
            end_at_step=3,
            return_with_leftover_noise="enable",
        )

    def masked(self) -> Node:
        """A picture's latents whose left half may change."""
        nothing = self.add("SolidMask", value=0.0, width=64, height=64)
        half = self.add("SolidMask", value=1.0, width=32, height=64)
        mask = self.add("MaskComposite", destination=nothing, source=half, x=0, y=0, operation="add")
        return self.add("SetLatentNoiseMask", samples=self.sample(), mask=mask)

    def encode(self, prompt: str) -> Node:
        """A prompt's conditioning."""
        return self.add("CLIPTextEncode", clip=self.demo[1], text=prompt)

    def empty(self, batch: int) -> Node:
        """Empty latents of 64 x 64 pixels."""
        return self.add("EmptySD3LatentImage", width=64, height=64, batch_size=batch)

    def pictures(self, samples: Any) -> Node:
        """Decode and save."""
        decoded = self.add("VAEDecode", samples=samples, vae=self.demo[2])
        return self.add("SaveImage", images=decoded, filename_prefix="test")


def latents_of(client: HostClient, run: Run, node: Node) -> Tensor:
    """What SaveLatent saved in a run."""
    return client.latent(run.outputs[node.id]["latents"][0])


def pictures_of(client: HostClient, run: Run, node: Node) -> list[NDArray[np.uint8]]:
    """What SaveImage saved in a run, each uint8 (H, W, 3)."""
    return [client.picture(file) for file in run.outputs[node.id]["images"]]
