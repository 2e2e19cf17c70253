"""The pipelines that can be steered, and how each family of them calls its denoiser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from .layouts import FLUX, FLUX_2, MAPS, QWEN_IMAGE, Layout

TEXT, POOLED = "encoder_hidden_states", "pooled_projections"


@dataclass(frozen=True)
class Family:
    """What pipelines of one architecture have in common.

    Attributes:
        latent_format: ComfyUI's name of the latent format.
        classes: names of the pipelines.
        denoisers: attributes that hold the denoiser, or several of which one acts at a time.
        layout: how latents are held.
        prompt: where the prompt's estimate is: in the "second" or "first" rows of an evaluation of both prompts, or in
            an evaluation of its own, the first of a step ("apart").
        negated: whether the pipeline negates the denoiser's output.
        in_float32: whether latents are float32 whatever the denoiser is.
        videos: whether the pipeline makes videos.
        encoded: what its ``encode_prompt`` returns, by the names of the denoiser's arguments; "" for what is none.
    """

    latent_format: str
    classes: tuple[str, ...]
    denoisers: tuple[str, ...] = ("transformer",)
    layout: Layout = MAPS
    prompt: Literal["second", "first", "apart"] = "apart"
    negated: bool = False
    in_float32: bool = False
    videos: bool = False
    encoded: tuple[str, ...] = (TEXT,)

    def output(self, evaluation: Any, sample: Tensor) -> Tensor:
        """The tensor in what the denoiser returned, in the sample's shape but for the number of rows.

        Args:
            evaluation: a list of maps, a tuple or an output of diffusers.
            sample: of the scheduler.
        """
        found = evaluation[0]
        if not isinstance(found, Tensor):
            found = torch.stack(list(found)).squeeze(2)
        # Learned variances and images given as conditions follow.
        found = found[:, : sample.shape[1]]
        return -found if self.negated else found

    def conditional(self, outputs: Sequence[Tensor], rows: int) -> tuple[Tensor | None, Tensor | None]:
        """The outputs for the prompt and for the negative prompt; None for what was not evaluated.

        Args:
            outputs: of the evaluations of one step.
            rows: number of samples.
        """
        if not outputs:
            return None, None
        parts = outputs[0].split(rows)
        if len(parts) == 1:
            return outputs[0], outputs[1] if len(outputs) > 1 and self.prompt == "apart" else None
        return (parts[0], parts[1]) if self.prompt == "first" else (parts[1], parts[0])


FAMILIES = (
    Family(
        "SD15",
        ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", "StableDiffusionInpaintPipeline"),
        denoisers=("unet",),
        prompt="second",
    ),
    Family(
        "SDXL",
        ("StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline"),
        denoisers=("unet",),
        prompt="second",
        encoded=(TEXT, "", "text_embeds"),
    ),
    Family(
        "SD3",
        ("StableDiffusion3Pipeline", "StableDiffusion3Img2ImgPipeline", "StableDiffusion3InpaintPipeline"),
        prompt="second",
        encoded=(TEXT, "", POOLED),
    ),
    Family(
        "Flux",
        ("FluxPipeline", "FluxImg2ImgPipeline", "FluxInpaintPipeline"),
        layout=FLUX,
        encoded=(TEXT, POOLED, "txt_ids"),
    ),
    Family("Flux2", ("Flux2Pipeline", "Flux2KleinPipeline"), layout=FLUX_2, encoded=(TEXT, "txt_ids")),
    Family(
        "Wan21",
        ("QwenImagePipeline", "QwenImageImg2ImgPipeline", "QwenImageInpaintPipeline"),
        layout=QWEN_IMAGE,
        encoded=(TEXT, "encoder_hidden_states_mask"),
    ),
    Family(
        "Flux",
        ("ZImagePipeline", "ZImageImg2ImgPipeline", "ZImageInpaintPipeline"),
        prompt="first",
        negated=True,
        in_float32=True,
        encoded=("cap_feats",),
    ),
    Family("Wan21", ("WanPipeline",), denoisers=("transformer", "transformer_2"), in_float32=True, videos=True),
)


def family_of(pipe: Any) -> Family:
    """The family of a pipeline, by its class or a base class of it.

    Raises:
        ValueError: it is none that can be steered.
    """
    for kind in type(pipe).__mro__:
        for family in FAMILIES:
            if kind.__name__ in family.classes and kind.__module__.startswith("diffusers."):
                return family
    known = ", ".join(name for family in FAMILIES for name in family.classes)
    raise ValueError(f"{type(pipe).__name__} cannot be steered. What works: {known}.")
