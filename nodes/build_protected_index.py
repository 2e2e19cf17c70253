"""Building a Protected Index out of a folder of images, through the graph's VAE."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.utils
import folder_paths
from comfy_api.latest import io
from torch import Tensor

from ..features.image_folder import FoundFiles, find_images, folder_below
from ..indexing.build import Outcome, build
from ..indexing.sources import (
    Fitted,
    GivenImages,
    ImageFiles,
    Source,
)
from ..stores.protected.spaces import latent_space
from .common.images import encoded, rgb_images
from .common.sockets import IndexSocket
from .host.folders import DEFAULT_INDEX, index_path, open_index
from .host.messages import lasting, logger
from .host.networks.embedded_model import check_encoder_fits
from .host.networks.vae_fingerprint import known_fingerprint
from .host.sampling import latent_channels, latent_format_name
from .host.schema import advanced, schema_extras

LISTED = 5
"""Files named on the node; the log names all of them."""


class DiversityBuildProtectedIndex(io.ComfyNode):
    """Adds the images of a folder to an index."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="DiversityBuildProtectedIndex",
            display_name="Build Protected Index",
            category="diversity/protection",
            description="Encodes the images of a folder, so that Sparse Repellency can keep away from every one of "
            "them. Only images that the index does not hold yet are encoded. A build that was cancelled continues "
            "where it stopped.",
            inputs=[
                io.String.Input(
                    "folder",
                    default="",
                    tooltip="A folder inside ComfyUI's input directory; its subfolders are included. Empty: no folder.",
                ),
                io.Vae.Input("vae", tooltip="The VAE of the model that must keep away from these images."),
                io.Model.Input(
                    "model",
                    tooltip="The model that must keep away from these images. A latent does not say which model it "
                    "belongs to, and an index never mixes models.",
                ),
                io.String.Input(
                    "name",
                    default=DEFAULT_INDEX,
                    tooltip="Name of the index, not a path. What it holds already is kept.",
                ),
                io.Int.Input(
                    "width",
                    default=1024,
                    min=16,
                    max=16384,
                    step=8,
                    tooltip="Width of the images that you generate, in pixels. Images are compared at this size only; "
                    "others are cropped to the middle and scaled.",
                ),
                io.Int.Input(
                    "height",
                    default=1024,
                    min=16,
                    max=16384,
                    step=8,
                    tooltip="Height of the images that you generate, in pixels.",
                ),
                io.Image.Input("images", optional=True, tooltip="More images, added to those of the folder."),
                advanced(
                    io.Int.Input,
                    "batch",
                    default=1,
                    min=1,
                    max=256,
                    tooltip="How many images are encoded at once. More is faster for small images and needs more "
                    "memory.",
                ),
            ],
            outputs=[
                IndexSocket.Output("index", display_name="protected", tooltip="The index, for Sparse Repellency."),
                io.Int.Output("count", display_name="count", tooltip="How many images the index protects now."),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
            not_idempotent=True,
            **schema_extras(
                search_aliases=["protect", "shield", "privacy", "copyright", "memorization", "duplicate", "diversity"]
            ),
        )

    @classmethod
    def validate_inputs(cls, folder: str | None = None, name: str | None = None) -> bool:
        """Refuse folders and names before anything runs; what comes along a wire is None here."""
        index_path(DEFAULT_INDEX if name is None else name)
        if folder:
            _found(folder)
        return True

    @classmethod
    def fingerprint_inputs(cls, folder: str | None, **_: Any) -> str:
        """Changes when the folder's files do."""
        if not folder:
            return ""
        states = [(path, path.stat()) for path in _found(folder).paths]
        told = [f"{path}:{state.st_size}:{state.st_mtime_ns}" for path, state in states]
        return hashlib.sha256("\n".join(told).encode(errors="surrogateescape")).hexdigest()

    @classmethod
    def execute(
        cls,
        folder: str,
        vae: Any,
        model: Any,
        name: str,
        width: int,
        height: int,
        images: Tensor | None = None,
        batch: int = 1,
    ) -> io.NodeOutput:
        """Encode what is new, and publish it.

        Raises:
            ValueError: there is no image, the VAE is not the model's, or the index is of another model or size.
        """
        fitted = Fitted(width, height, lambda colours: _encoded(vae, colours), batch)
        if (channels := fitted.shape()[0]) != latent_channels(model):
            raise ValueError(
                f"The VAE makes latents of {channels} channels and this model's have {latent_channels(model)}. Connect "
                "the VAE that belongs to the model."
            )
        encoder = known_fingerprint(vae)
        check_encoder_fits(model, encoder, "This VAE", "Connect the VAE that belongs to the model.")
        sources: list[Source] = []
        if folder:
            sources.append(ImageFiles(_found(folder), fitted))
        if images is not None:
            sources.append(GivenImages(rgb_images(images), "images", fitted))
        if not sources:
            raise ValueError("There is nothing to protect: give a folder of the input directory, or connect images.")
        space = latent_space(latent_format_name(model), encoder)
        outcomes = [_build(index_path(name), space, source) for source in sources]
        index = open_index(name)
        unreadable, passed_over = (
            tuple(file for outcome in outcomes for file in files(outcome))
            for files in (lambda outcome: outcome.unreadable, lambda outcome: outcome.passed_over)
        )
        added, repeated = (sum(counts) for counts in zip(*((o.added, o.repeated) for o in outcomes), strict=True))
        told = Outcome(added, len(index), repeated, unreadable, passed_over).sentence()
        reasons = [f"{file}: {reason}" for file, reason in (*unreadable, *passed_over)]
        logger.info("Build Protected Index (node %s): %s", cls.hidden.unique_id, " ".join([told, *reasons]))
        text = "\n".join([told, *reasons[:LISTED], *["..."] * (len(reasons) > LISTED)])
        return io.NodeOutput(index, len(index), ui=lasting(cls.hidden.unique_id, text))


def _build(folder: Path, space: str, source: Source) -> Outcome:
    """Build with a progress bar; Cancel stops it, and what was encoded is kept."""
    bar = comfy.utils.ProgressBar(len(source))
    outcome = build(folder, space, source, bar.update_absolute, comfy.model_management.processing_interrupted)
    comfy.model_management.throw_exception_if_processing_interrupted()
    return outcome


def _encoded(vae: Any, colours: Tensor) -> Tensor:
    """Raw latents (B, C, ...) of colours (B, 3, H, W) in 0..1; one by one for a video VAE, to which a batch is one."""
    latents = vae.encode(colours.movedim(1, -1))
    return latents if len(latents) == len(colours) else encoded(vae, colours)


def _found(name: str) -> FoundFiles:
    """The images of a folder below the input directory, which links may not leave; ValueError without any."""
    root = Path(folder_paths.get_input_directory())
    return find_images(folder_below(root, name), within=root)
