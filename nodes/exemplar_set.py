"""Exemplars of a subject as a value on a wire."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io
from torch import Tensor

from ..features.exemplar_files import find_exemplars, read_exemplars
from ..features.image_folder import FoundFiles, summary
from ..stores.exemplar_set import MAX_EXEMPLARS, ExemplarSet
from .common.images import encoded, rgb_images
from .common.sockets import ExemplarSocket
from .host.messages import show
from .host.schema import schema_extras


class DiversityExemplarSet(io.ComfyNode):
    """Holds a handful of real images."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="DiversityExemplarSet",
            display_name="Load Real Examples (Exemplar Set)",
            category="diversity/memory",
            description="Loads a few real images of the subject, such as five photographs of the town you mean. Vendi "
            "Guidance keeps generated images close to them while it spreads them out.",
            inputs=[
                io.String.Input(
                    "folder",
                    default="",
                    tooltip="A folder inside ComfyUI's input directory. All images in it are loaded. Empty: no folder.",
                ),
                io.Image.Input("images", optional=True, tooltip="More images, added to those of the folder."),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="The model's VAE. Needed for the features latents and preview only.",
                ),
            ],
            outputs=[
                ExemplarSocket.Output("set", display_name="exemplars", tooltip="The exemplars, for Vendi Guidance."),
                io.Int.Output("count", display_name="count", tooltip="How many exemplars were loaded."),
            ],
            hidden=[io.Hidden.unique_id],
            **schema_extras(search_aliases=["reference images", "real images", "style set", "c-vsg", "diversity"]),
        )

    @classmethod
    def validate_inputs(cls, folder: str | None = None) -> bool | str:
        """Refuse folders that cannot be read before anything runs; one that comes along a wire is None here."""
        if not folder:
            return True
        try:
            _found(folder)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, folder: str | None, images: Tensor | None = None, vae: Any = None) -> str:
        """Changes when the folder's files do."""
        if not folder:
            return ""
        files = [f"{path}:{(state := path.stat()).st_size}:{state.st_mtime_ns}" for path in _found(folder).paths]
        return hashlib.sha256("\n".join(files).encode(errors="surrogateescape")).hexdigest()

    @classmethod
    def execute(cls, folder: str, images: Tensor | None = None, vae: Any = None) -> io.NodeOutput:
        """Read the images and, with a VAE, encode them.

        Raises:
            ValueError: there is no image, or one cannot be read.
        """
        found_images: tuple[Tensor, ...] = ()
        told = ""
        if folder:
            found = _found(folder)
            found_images += read_exemplars(found)
            told = summary(found.passed_over)
        if images is not None:
            found_images += ExemplarSet.from_images(rgb_images(images)).images
        if not found_images:
            raise ValueError("An Exemplar Set needs images: give a folder of the input directory, or connect images.")
        exemplars = ExemplarSet(found_images)
        if vae is not None:
            latents = [encoded(vae, image[None].float() / 255)[0] for image in found_images]
            exemplars = exemplars.with_latents(latents)
        show(cls.hidden.unique_id, f"{len(exemplars)} exemplars. {told}".rstrip())
        return io.NodeOutput(exemplars, len(exemplars))


def _found(name: str) -> FoundFiles:
    return find_exemplars(Path(folder_paths.get_input_directory()), name, MAX_EXEMPLARS)
