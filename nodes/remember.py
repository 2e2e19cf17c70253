"""Remembering images: an explicit act, on disk and along a wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..stores.bank.bank import DEFAULT_CAPACITY
from ..stores.bank.snapshot import BankSnapshot
from ..stores.files import validate_name
from .common.leftover_noise import leftover_noise
from .common.queue_changes import note_change
from .common.sampled_with import sampled_seed, sampled_text
from .common.sockets import BankSocket
from .host.conditioning import encoded_prompt
from .host.encoders import image_features, image_spaces
from .host.folders import open_bank
from .host.latents import check_finished, neighbour_correlation, plain_latents
from .host.messages import lasting, logger
from .host.networks.embedded_model import check_encoder_fits
from .host.networks.vae_fingerprint import known_fingerprint
from .host.previews import thumbnails_of, thumbnails_of_latents
from .host.sampling import latent_channels, latent_format_name
from .host.schema import advanced, schema_extras
from .memory_bank import DEFAULT_NAME

NO_FEATURES = "none"

MIN_CORRELATION = 0.1
"""Correlation of neighbouring values below which latents are called noise."""

NOISE_LIKE = "look like noise: their neighbouring values have next to nothing in common"
UNFINISHED = "If their sampler stopped early, finish them with a second sampler and save its result instead."


class DiversityRemember(io.ComfyNode):
    """Adds finished latents to a bank."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="DiversityRemember",
            display_name="Save to Memory Bank",
            category="diversity/memory",
            description="Adds finished images to a Memory Bank. Saving the same images again changes nothing.",
            inputs=[
                io.Latent.Input("samples", tooltip="The finished latents of a sampler."),
                io.Model.Input(
                    "model",
                    tooltip="The model that generated them, steered or not. A latent does not say which model it "
                    "belongs to, and a bank never mixes models.",
                ),
                io.String.Input(
                    "name",
                    default=DEFAULT_NAME,
                    tooltip="Name of the bank on disk. Empty: nothing is saved, and only the output holds the images.",
                ),
                BankSocket.Input(
                    "bank",
                    optional=True,
                    tooltip="A bank to add to. Without one, the output is the bank on disk.",
                ),
                io.Image.Input(
                    "images",
                    optional=True,
                    tooltip="The decoded images, saved as small previews. Without them, previews are decoded by vae "
                    "or, without that, estimated from the latents.",
                ),
                io.String.Input(
                    "prompt",
                    optional=True,
                    force_input=True,
                    tooltip="The prompt, saved with the images. Not connected: the text that the graph connects to the "
                    "sampler, where it tells one.",
                ),
                io.Int.Input(
                    "seed",
                    optional=True,
                    force_input=True,
                    min=0,
                    max=2**64 - 1,
                    tooltip="The sampler's seed, saved with the images. Not connected: the seed of the sampler in the "
                    "graph, where it tells one.",
                ),
                advanced(
                    io.Int.Input,
                    "capacity",
                    default=DEFAULT_CAPACITY,
                    min=1,
                    max=10_000_000,
                    tooltip="How many images the bank on disk keeps. The oldest are dropped first.",
                ),
                advanced(
                    io.Combo.Input,
                    "features",
                    options=[NO_FEATURES, *image_spaces()],
                    default=NO_FEATURES,
                    tooltip="Features of the images to save as well, so that Vendi Guidance need not decode the bank. "
                    "A bank can hold several kinds. none saves no features.",
                ),
                io.ClipVision.Input("clip_vision", optional=True, tooltip="Needed for the features clip vision."),
                io.Conditioning.Input(
                    "conditioning",
                    optional=True,
                    tooltip="The prompt as the model reads it. Saved with the images, it tells Vendi Guidance which "
                    "prompts mean much the same.",
                ),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="The model's VAE. Its fingerprint is saved, and from then on latents of another VAE are "
                    "refused. It decodes the previews if images are not connected.",
                ),
            ],
            outputs=[
                io.Latent.Output("latent", display_name="latent", tooltip="The samples, unchanged."),
                BankSocket.Output(
                    "grown_bank",
                    display_name="bank",
                    tooltip="The bank with these images added, for the next sampler.",
                ),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
            is_output_node=True,
            not_idempotent=True,
            **schema_extras(
                search_aliases=["memory", "remember", "history", "append", "store latent", "novelty", "diversity"]
            ),
        )

    @classmethod
    def validate_inputs(cls, name: str | None = None) -> bool | str:
        """Refuse names that could be paths; one that comes along a wire is None here."""
        try:
            validate_name(name or DEFAULT_NAME, "bank")
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(
        cls,
        samples: dict[str, Any],
        model: Any,
        name: str,
        bank: BankSnapshot | None = None,
        images: Tensor | None = None,
        prompt: str | None = None,
        seed: int | None = None,
        capacity: int = DEFAULT_CAPACITY,
        features: str = NO_FEATURES,
        clip_vision: Any = None,
        conditioning: Any = None,
        vae: Any = None,
    ) -> io.NodeOutput:
        """Remember the samples.

        Raises:
            ValueError: the samples are not finished latents of this model, or the bank cannot take them.
        """
        graph, node_id = cls.hidden.prompt or {}, cls.hidden.unique_id
        latents = _finished_latents(samples, model)
        _check_noise(latents, leftover_noise(graph, node_id, "samples"))
        encoder = known_fingerprint(vae)
        check_encoder_fits(model, encoder, "This VAE", "Connect the VAE that belongs to the model.")
        facts: dict[str, Any] = {
            "latent_format": latent_format_name(model),
            "prompts": sampled_text(graph, node_id, "samples") if prompt is None else prompt,
            "seeds": sampled_seed(graph, node_id, "samples") if seed is None else seed,
            "encoder": encoder,
            "thumbnails": None if images is None else thumbnails_of(images, len(latents)),
        }
        if name and images is None:
            facts["thumbnails"] = thumbnails_of_latents(latents, model, vae)
        if features != NO_FEATURES:
            if images is None:
                raise ValueError(
                    f'The features "{features}" need images. Connect the decoded images, or choose "none".'
                )
            facts["features"] = image_features(features, clip_vision, images, len(latents))
        if conditioning is not None:
            encoded = encoded_prompt(conditioning)
            facts["features"] = {
                **facts.get("features", {}),
                encoded.tag: encoded.vectors.expand(len(latents), -1).clone(),
            }
        told = f"{len(latents)} images were added to the output."
        extended = None if bank is None else bank.extended(latents, **facts)
        if name:
            stored = open_bank(name, capacity)
            before = stored.revision
            result = stored.append(latents, **facts)
            if result.revision != before:
                note_change(stored, result.revision)
            told = (
                f"{result.added} images saved, {result.duplicates} were known already; {name} is at revision "
                f"{result.revision}."
            )
            if result.evicted:
                told += f" The oldest {result.evicted} were dropped to make room."
            if result.beyond_capacity:
                told += f" {result.beyond_capacity} were not saved: pinned and later ones fill the bank of {capacity}."
            if result.added:
                told += _saved_with(facts)
            extended = stored.snapshot() if extended is None else extended
        elif extended is None:
            extended = BankSnapshot.empty().extended(latents, **facts)
        if neighbour_correlation(latents) < MIN_CORRELATION:
            told += f" Some of them {NOISE_LIKE}. {UNFINISHED}"
        logger.info("Save to Memory Bank (node %s): %s", node_id, told)
        return io.NodeOutput(samples, extended, ui=lasting(node_id, told))


def _saved_with(facts: Mapping[str, Any]) -> str:
    """What was saved with the images and what was not, as sentences."""
    names = {"thumbnails": "previews", "prompts": "prompt", "seeds": "seed"}
    held = [name for fact, name in names.items() if facts[fact] is not None]
    lacking = [name for name in names.values() if name not in held]
    told = f" Saved with {_listed(held)}." if held else ""
    return told + (f" The graph does not tell {_listed(lacking)}: connect what is to be saved." if lacking else "")


def _listed(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _check_noise(latents: Tensor, why: str | None) -> None:
    """Refuse latents that hold noise: as the graph tells or, where it does not, by their numbers."""
    if why:
        raise ValueError(f"The latents to save still hold noise: {why}")
    if why is None and neighbour_correlation(latents) < MIN_CORRELATION:
        raise ValueError(f"Some of the latents to save {NOISE_LIKE}. {UNFINISHED}")


def _finished_latents(samples: dict[str, Any], model: Any) -> Tensor:
    """The latents, if a bank for this model's images can hold them."""
    latents = plain_latents(samples, "The latents to save")
    if latents.shape[1] != latent_channels(model):
        raise ValueError(
            f"The latents to save have {latents.shape[1]} channels and this model's have "
            f"{latent_channels(model)}. Connect the model that made them."
        )
    if not bool(latents.any()):
        raise ValueError("The latents to save are empty. Connect the output of the sampler, not its input.")
    check_finished(latents, latent_format_name(model), "The latents to save")
    return latents
