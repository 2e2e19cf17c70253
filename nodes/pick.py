"""A contact sheet: the members of a batch that represent it best (Turinici, arXiv 2202.09573, algorithm A2).

Every kind of member counts once, however many members it has, so that the only different one is not dropped.
"""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker
from torch import Tensor

from ..kernels.representatives import choose_representatives, kind_weights
from ..kernels.similarity import squared_distances
from .host.encoders import CLIP_VISION, CONTENT, image_features, image_spaces
from .host.latents import plain_latents
from .host.messages import lasting
from .host.prompt_fit import prompt_fit
from .host.schema import advanced, schema_extras

UNWIRED: Any = object()

WITHOUT_CLIP_VISION = 'The features "clip vision" need a CLIP vision model. Connect clip_vision, or choose others.'
WITHOUT_CLIP = (
    "To weigh how images fit the prompt, connect images, prompt, clip and clip_vision, or set prompt_weight to 0."
)


class DiversityPick(io.ComfyNode):
    """Chooses a few members of a batch that stand for all."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="DiversityPick",
            display_name="Pick Representatives",
            category="diversity/measure",
            description="Picks the few images of a batch that show what there is in it: each typical of its kind, and "
            "different from one another. Images are compared where they are connected, latents otherwise.",
            inputs=[
                io.Int.Input("count", default=4, min=1, max=4096, tooltip="How many to pick."),
                io.Latent.Input("samples", optional=True, tooltip="The latents of the batch."),
                io.Image.Input("images", optional=True, tooltip="The images of the batch, one per latent."),
                advanced(
                    io.Combo.Input,
                    "features",
                    options=image_spaces(),
                    default=CONTENT,
                    tooltip="What images are compared by. content network: what an image shows. random network: "
                    "colours, layout and texture. colour layout: colours and where they are. clip vision: what an "
                    "image shows, needs clip_vision.",
                ),
                io.ClipVision.Input(
                    "clip_vision", optional=True, tooltip="Needed for the features clip vision and for prompt_weight."
                ),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="The text half of the CLIP of which clip_vision is the other, for prompt_weight.",
                ),
                io.String.Input(
                    "prompt", optional=True, force_input=True, tooltip="What the images should show, for prompt_weight."
                ),
                advanced(
                    io.Float.Input,
                    "prompt_weight",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How much it counts that an image fits the prompt. Off at 0. At 0.1 it decides among "
                    "images that are nearly the same; at 1 it may leave out a whole kind that fits badly.",
                ),
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
    def validate_inputs(
        cls,
        features: str | None = None,
        prompt_weight: float | None = None,
        images: Any = UNWIRED,
        prompt: Any = UNWIRED,
        clip: Any = UNWIRED,
        clip_vision: Any = UNWIRED,
    ) -> bool | str:
        """Say what is missing before anything is sampled; what comes along a wire is None here."""
        if features is not None and features not in (known := image_spaces()):
            return f'There are no features "{features}". Choose one of: {", ".join(known)}.'
        if features == CLIP_VISION and clip_vision is UNWIRED:
            return WITHOUT_CLIP_VISION
        if prompt_weight and UNWIRED in (images, prompt, clip, clip_vision):
            return WITHOUT_CLIP
        return True

    @classmethod
    def execute(
        cls,
        count: int,
        samples: dict[str, Any] | None = None,
        images: Tensor | None = None,
        features: str = CONTENT,
        clip_vision: Any = None,
        clip: Any = None,
        prompt: str | None = None,
        prompt_weight: float = 0.0,
    ) -> io.NodeOutput:
        """Choose.

        Raises:
            ValueError: nothing is wired, latents and images are not of one batch, it has fewer than ``count``, or what
                the chosen comparison needs is missing.
        """
        latents = None if samples is None else plain_latents(samples, "The latents to pick from")
        if latents is None and images is None:
            raise ValueError("There is nothing to pick from: connect latents, images or both.")
        if latents is not None and images is not None and len(latents) != len(images):
            raise ValueError(
                f"There are {len(images)} images for {len(latents)} latents: connect one image per latent."
            )
        vectors = latents
        if images is not None:
            (vectors,) = image_features(features, clip_vision, images, len(images)).values()
        assert vectors is not None
        distances = squared_distances(vectors, vectors).sqrt()
        costs = None
        if prompt_weight > 0:
            if images is None or prompt is None or clip is None or clip_vision is None:
                raise ValueError(WITHOUT_CLIP)
            costs = prompt_weight * _misfit(prompt_fit(images, prompt, clip, clip_vision)) * distances.mean().cpu()
        places = choose_representatives(distances, count, kind_weights(distances), costs)
        indices = ", ".join(str(place) for place in places)
        text = f"Picked of {len(vectors)}: {indices}"
        return io.NodeOutput(
            _unwired("latents") if samples is None else chosen_latents(samples, places),
            _unwired("images") if images is None else images[places],
            indices,
            ui=lasting(cls.hidden.unique_id, text),
        )


def _misfit(fit: Tensor) -> Tensor:
    """0 for the image that fits best and 1 for the one that fits worst, (B,)."""
    return (fit.max() - fit) / (fit.max() - fit.min()).clamp_min(1e-6)


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
