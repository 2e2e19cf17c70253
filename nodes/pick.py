"""A contact sheet: the members of a batch that represent it best (Turinici, arXiv 2202.09573, algorithm A2)."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker
from torch import Tensor

from ..features.random_network import RandomNetwork
from ..kernels.representatives import choose_representatives
from ..kernels.similarity import squared_distances
from .common.images import rgb_images
from .host.latents import plain_latents
from .host.messages import lasting
from .host.schema import schema_extras


class DiversityPick(io.ComfyNode):
    """Chooses a few members of a batch that stand for all."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="DiversityPick",
            display_name="Pick Representatives",
            category="diversity/measure",
            description="Picks the few images of a batch that represent it best: typical of the batch and different "
            "from one another. Images are compared where they are connected, latents otherwise.",
            inputs=[
                io.Int.Input("count", default=4, min=1, max=4096, tooltip="How many to pick."),
                io.Latent.Input("samples", optional=True, tooltip="The latents of the batch."),
                io.Image.Input("images", optional=True, tooltip="The images of the batch, one per latent."),
            ],
            outputs=[
                io.Latent.Output("chosen_samples", tooltip="The picked latents. They keep their numbers in the batch."),
                io.Image.Output("chosen_images", tooltip="The picked images."),
                io.String.Output("indices", tooltip="Their numbers in the batch, counted from 0, such as 0, 3, 7."),
            ],
            hidden=[io.Hidden.unique_id],
            **schema_extras(
                search_aliases=[
                    "contact sheet",
                    "select",
                    "subset",
                    "cull",
                    "best of",
                    "unique",
                    "different",
                    "diversity",
                ]
            ),
        )

    @classmethod
    def execute(cls, count: int, samples: dict[str, Any] | None = None, images: Tensor | None = None) -> io.NodeOutput:
        """Choose.

        Raises:
            ValueError: nothing is wired, latents and images are not of one batch, or it has fewer than ``count``.
        """
        latents = None if samples is None else plain_latents(samples, "The latents to pick from")
        if latents is None and images is None:
            raise ValueError("There is nothing to pick from: connect latents, images or both.")
        if latents is not None and images is not None and len(latents) != len(images):
            raise ValueError(
                f"There are {len(images)} images for {len(latents)} latents: connect one image per latent."
            )
        features = latents if images is None else RandomNetwork()(rgb_images(images))
        assert features is not None
        places = choose_representatives(squared_distances(features, features).sqrt(), count)
        indices = ", ".join(str(place) for place in places)
        text = f"Picked of {len(features)}: {indices}"
        return io.NodeOutput(
            _unwired("latents") if samples is None else chosen_latents(samples, places),
            _unwired("images") if images is None else images[places],
            indices,
            ui=lasting(cls.hidden.unique_id, text),
        )


def _unwired(what: str) -> ExecutionBlocker:
    return ExecutionBlocker(f"No {what} to pick from are connected to Pick Representatives.")


def chosen_latents(latent: dict[str, Any], places: list[int]) -> dict[str, Any]:
    """A LATENT with some of its members, which keep their masks and remember their places in the batch."""
    count = len(latent["samples"])
    chosen = {**latent, "samples": latent["samples"][places]}
    mask = latent.get("noise_mask")
    if mask is not None and len(mask) == count:
        chosen["noise_mask"] = mask[places]
    known = latent.get("batch_index") or list(range(count))
    chosen["batch_index"] = [known[place] for place in places]
    return chosen
