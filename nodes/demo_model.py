"""The embedded model as MODEL, CLIP and VAE, through the host's own loaders: nothing needs to be downloaded."""

from __future__ import annotations

import comfy.sd
import comfy.utils
from comfy_api.latest import io

from ..embedded.assets_path import asset
from ..embedded.lora import TURBO_LORA, Lora
from .host.embedded_clip import embedded_clip
from .host.schema import schema_extras


class DiversityDemoModel(io.ComfyNode):
    """Loads the embedded model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="DiversityDemoModel",
            display_name="Demo Model (Emoji)",
            category="diversity/guidance",
            description="A tiny text-to-image model that is part of this pack. It generates emoji of 64 x 64 pixels, "
            "in seconds on any machine. Prompts are words, such as: woman running dark skin tone.",
            inputs=[
                io.Combo.Input(
                    "model",
                    options=["base", "turbo"],
                    default="base",
                    tooltip="base: use 24 steps at CFG 1 to 5. turbo: distilled by a LoRA for 8 or 4 steps at CFG 1; "
                    "it repeats itself as distilled models do.",
                    optional=True,
                )
            ],
            outputs=[
                io.Model.Output(
                    tooltip="The model, of Stable Diffusion 3's architecture. It generates 64 x 64 pixels best."
                ),
                io.Clip.Output(tooltip="The text encoder, for CLIP Text Encode. It reads eight words."),
                io.Vae.Output(tooltip="The VAE, which decodes and encodes the model's latents."),
            ],
            **schema_extras(search_aliases=["diversity demo", "emoji", "tiny model", "checkpoint"]),
        )

    @classmethod
    def execute(cls, model: str = "base") -> io.NodeOutput:
        """Load the weights that are part of the pack.

        Raises:
            ValueError: a file is missing, or the LoRA was made for other weights.
        """
        weights = asset("mmdit.safetensors")
        patcher = comfy.sd.load_diffusion_model(str(weights))
        if model == "turbo":
            lora = Lora.load(asset(TURBO_LORA), weights)
            patcher, _ = comfy.sd.load_lora_for_models(patcher, None, dict(lora.tensors), 1.0, 0.0)
        vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(asset("vae.safetensors")), safe_load=True))
        return io.NodeOutput(patcher, embedded_clip(), vae)
