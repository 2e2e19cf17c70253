"""Probing a MODEL for the features of exemplars (arXiv 2410.11646): for each level, some looks at noised images."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import shorten
from typing import Any

import comfy.model_management
import comfy.samplers
import comfy.utils
import torch
from comfy_api.latest import io
from torch import Tensor

from ..guidance.activations.hooks import LayerHooks
from ..guidance.activations.layers import find_layers, select_layers
from ..guidance.activations.probe import (
    ActivationReader,
    make_centroid,
    network_fingerprint,
    probe_inputs,
)
from .common.images import encoded, rgb_images
from .common.sampled_with import sampled_text
from .common.sockets import CentroidSocket
from .host.folders import centroid_path
from .host.latents import check_finished, plain_latents
from .host.layers import on_one_device, readable_network
from .host.messages import lasting, logger
from .host.networks.embedded_model import check_encoder_fits
from .host.networks.vae_fingerprint import known_fingerprint
from .host.sampling import latent_channels, latent_format_name, unguided
from .host.schema import schema_extras

CHUNK = 4
"""Exemplars that the network looks at together."""

NAME_LENGTH = 32
"""Characters of a prompt that names a centroid."""


class DiversityFeatureProbe(io.ComfyNode):
    """Reads what a model sees in exemplars."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="DiversityFeatureProbe",
            display_name="Learn From Examples (Feature Probe)",
            category="diversity/features",
            description="Shows example images to a model and records the channel means of its layers at several noise "
            "levels: the centroid of the group, for Feature Guidance.",
            inputs=[
                io.Model.Input("model", tooltip="The model that will be steered. Guidance on it is ignored here."),
                io.Conditioning.Input("positive", tooltip="The prompt that will be guided."),
                io.String.Input(
                    "save_as",
                    default="",
                    tooltip="A name under which the centroid is saved. Empty: it is not saved.",
                ),
                io.String.Input(
                    "layers",
                    default="all",
                    tooltip="Which layers are recorded: all, middle, or names such as joint_blocks.3, "
                    "joint_blocks.8-12.",
                ),
                io.Int.Input(
                    "levels",
                    default=8,
                    min=1,
                    max=64,
                    tooltip="How many noise levels, evenly spaced over the model's schedule.",
                ),
                io.Int.Input(
                    "noise_samples",
                    default=4,
                    min=1,
                    max=64,
                    tooltip="How many noises per level, the same for every image and in opposite pairs: best an even "
                    "number. One more per level is different for every image.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**64 - 1,
                    # The editor gives every "seed" a control that changes it, unless told otherwise.
                    control_after_generate=False,
                    tooltip="Seed of the noise. Use the same one for all centroids that are used together.",
                ),
                io.Latent.Input("latents", optional=True, tooltip="The examples, as latents."),
                io.Image.Input("images", optional=True, tooltip="The examples, as images. Connect vae as well."),
                io.Vae.Input("vae", optional=True, tooltip="The model's VAE. It encodes the images."),
            ],
            outputs=[CentroidSocket.Output("centroid", tooltip="The centroid of the group.")],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
            is_output_node=True,
            **schema_extras(search_aliases=["activations", "features", "centroid", "exemplars", "probe", "diversity"]),
        )

    @classmethod
    def validate_inputs(cls, save_as: str | None = None) -> bool:
        """Refuse names that could be paths; one that comes along a wire is None here."""
        if save_as:
            centroid_path(save_as)
        return True

    @classmethod
    def execute(
        cls,
        model: Any,
        positive: Any,
        save_as: str,
        layers: str,
        levels: int,
        noise_samples: int,
        seed: int,
        latents: dict[str, Any] | None = None,
        images: Tensor | None = None,
        vae: Any = None,
    ) -> io.NodeOutput:
        """Look at the exemplars.

        Raises:
            ValueError: there are no exemplars that fit the model, no such layers, or the model cannot be read.
        """
        path = centroid_path(save_as) if save_as else None
        network = readable_network(model)
        found = find_layers(network)
        wanted = list(select_layers(found, layers))
        check_encoder_fits(model, known_fingerprint(vae), "This VAE", "Connect the VAE that belongs to the model.")
        exemplars = _fitting(_encoded(latents, images, vae), model)
        sampling = model.get_model_object("model_sampling")
        sigmas = torch.tensor([float(sampling.percent_to_sigma((level + 0.5) / levels)) for level in range(levels)])
        chunks = exemplars.split(CHUNK)
        bar = comfy.utils.ProgressBar(len(chunks) * levels * (noise_samples + 1))
        reader = ActivationReader()
        guider = comfy.samplers.CFGGuider(on_one_device(unguided(model)))
        guider.inner_set_conds({"positive": positive})
        for number, chunk in enumerate(chunks):
            look = _Look(reader, wanted, number, noise_samples, seed, lambda: bar.update(1))
            guider.sample(torch.zeros_like(chunk), chunk, look, sigmas, disable_pbar=True, seed=seed)
        told_by_graph = sampled_text(cls.hidden.prompt or {}, cls.hidden.unique_id, "latents")
        name = save_as or shorten(told_by_graph or "exemplars", NAME_LENGTH, placeholder="…")
        fingerprint = network_fingerprint(network, found)
        own_noise = reader.activation_means(own_noise=True)
        means = reader.activation_means()
        centroid = make_centroid(means, name, sigmas, fingerprint, latent_format_name(model), own_noise)
        if path is not None:
            centroid.save(path)
        told = f"Recorded {len(exemplars)} examples at {levels} noise levels in {len(wanted)} layers."
        logger.info("Feature Probe (node %s): %s", cls.hidden.unique_id, told)
        return io.NodeOutput(centroid, ui=lasting(cls.hidden.unique_id, told))


class _Look(comfy.samplers.Sampler):
    """A sampler that only evaluates the network on noised exemplars; the host prepares all else as for sampling."""

    def __init__(
        self,
        reader: ActivationReader,
        wanted: list[str],
        group: int,
        noise_samples: int,
        seed: int,
        tick: Callable[[], None],
    ) -> None:
        self.reader, self.wanted = reader, wanted
        self.group, self.noise_samples, self.seed, self.tick = group, noise_samples, seed, tick

    def sample(
        self,
        model_wrap: Any,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Any,
        noise: Tensor,
        latent_image: Tensor | None = None,
        denoise_mask: Tensor | None = None,
        disable_pbar: bool = False,
    ) -> Tensor:
        """Evaluate the model once a level and draw, and once a level through noise of the images' own."""
        assert latent_image is not None
        sampling = model_wrap.inner_model.model_sampling
        # The network as it is loaded: conditionings with hooks make the host load another one.
        layers = find_layers(model_wrap.inner_model.diffusion_model)
        with LayerHooks(layers, self.wanted, self.reader.visit):
            for level, one in probe_inputs(
                self.reader, latent_image.shape, len(sigmas), self.noise_samples, self.seed, self.group
            ):
                comfy.model_management.throw_exception_if_processing_interrupted()
                noisy = sampling.noise_scaling(
                    sigmas[level], one.to(latent_image).expand_as(latent_image), latent_image
                )
                model_wrap(noisy, sigmas[level].expand(len(noisy)), **extra_args)
                self.tick()
        return latent_image


def _encoded(latents: dict[str, Any] | None, images: Tensor | None, vae: Any) -> Tensor:
    """Raw latents (N, C, ...) of the exemplars."""
    if (latents is None) == (images is None) or (images is not None and vae is None):
        raise ValueError("Give the examples once: as latents, or as images together with the VAE.")
    if latents is not None:
        return plain_latents(latents, "The examples")
    assert images is not None
    return encoded(vae, rgb_images(images))


def _fitting(exemplars: Tensor, model: Any) -> Tensor:
    """The exemplars in the shape that the model works on."""
    axes = 2 + getattr(model.model.latent_format, "latent_dimensions", 2)
    if exemplars.ndim == 4 and axes == 5:
        exemplars = exemplars.unsqueeze(2)
    if exemplars.shape[1] != latent_channels(model) or exemplars.ndim != axes:
        raise ValueError(
            f"The examples are latents of shape {tuple(exemplars.shape[1:])}, and this model's "
            f"({latent_format_name(model)}) have {latent_channels(model)} channels. Encode them with this model's VAE."
        )
    if not bool(exemplars.any()):
        raise ValueError("The examples are empty latents. Connect encoded images or finished samples.")
    if lost := (~exemplars.flatten(1).isfinite().all(1)).nonzero().flatten().tolist():
        raise ValueError(f"The examples {', '.join(map(str, lost))} hold NaN or infinity. Leave them out.")
    check_finished(exemplars, latent_format_name(model), "The examples")
    return exemplars
