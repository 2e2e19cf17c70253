"""Exemplars of a subject as a value on a wire."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io
from torch import Tensor

from ..features.exemplar_files import find_exemplars, read_exemplars
from ..features.image_folder import FoundFiles, summary
from ..stores.bank.snapshot import BankSnapshot
from ..stores.encoders import check_encoder
from ..stores.exemplar_set import MAX_EXEMPLARS, ExemplarSet
from ..stores.files import validate_name
from .common.images import encoded, rgb_images
from .common.sockets import ExemplarSocket
from .host.folders import open_bank
from .host.messages import lasting
from .host.networks.vae_fingerprint import known_fingerprint
from .host.previews import first_frame
from .host.schema import advanced, schema_extras


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
                    tooltip="The model's VAE. Needed for the features latents and preview, and for pinned images.",
                ),
                advanced(
                    io.String.Input,
                    "pinned_of",
                    default="",
                    tooltip="Name of a Memory Bank. The images that are pinned in it, in the sidebar's panel Memory, "
                    "are added. Empty: none.",
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
    def validate_inputs(cls, folder: str | None = None, pinned_of: str | None = None) -> bool:
        """Refuse folders that cannot be read before anything runs; what comes along a wire is None here."""
        if folder:
            _found(folder)
        if pinned_of:
            validate_name(pinned_of, "bank")
        return True

    @classmethod
    def fingerprint_inputs(cls, folder: str | None, pinned_of: str | None = "", **_: Any) -> str:
        """Changes when the folder's files or the bank's pins do."""
        paths = _found(folder).paths if folder else ()
        parts = [f"{path}:{(state := path.stat()).st_size}:{state.st_mtime_ns}" for path in paths]
        if pinned_of:
            parts += [entry.id for entry in pinned(open_bank(pinned_of).snapshot()).entries]
        return hashlib.sha256("\n".join(parts).encode(errors="surrogateescape")).hexdigest() if parts else ""

    @classmethod
    def execute(cls, folder: str, images: Tensor | None = None, vae: Any = None, pinned_of: str = "") -> io.NodeOutput:
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
        if pinned_of:
            found_images += _pinned_images(pinned_of, vae)
        if not found_images:
            raise ValueError("An Exemplar Set needs images: give a folder of the input directory, or connect images.")
        exemplars = ExemplarSet(found_images)
        if vae is not None:
            latents = [encoded(vae, image[None].float() / 255)[0] for image in found_images]
            exemplars = exemplars.with_latents(latents)
        text = f"{len(exemplars)} exemplars. {told}".rstrip()
        return io.NodeOutput(exemplars, len(exemplars), ui=lasting(cls.hidden.unique_id, text))


def pinned(snapshot: BankSnapshot) -> BankSnapshot:
    """A bank's pinned images alone."""
    kept = [place for place, entry in enumerate(snapshot.entries) if entry.pinned]
    entries, parts = (tuple(values[place] for place in kept) for values in (snapshot.entries, snapshot.parts))
    return replace(snapshot, entries=entries, parts=parts)


def _pinned_images(name: str, vae: Any) -> tuple[Tensor, ...]:
    """The pinned images of a bank, decoded, each (3, H, W), uint8; of videos, the first frame."""
    chosen = pinned(open_bank(name).snapshot())
    if not chosen.entries:
        raise ValueError(
            f"No image of the bank '{name}' is pinned. Pin some in the sidebar's panel Memory, or empty pinned_of."
        )
    if len(chosen) > MAX_EXEMPLARS:
        raise ValueError(
            f"{len(chosen)} images of the bank '{name}' are pinned, and {MAX_EXEMPLARS} exemplars are the most."
        )
    if vae is None:
        raise ValueError(f"The pinned images of the bank '{name}' are latents. Connect vae, which decodes them.")
    check_encoder(f"The bank '{name}'", chosen.encoder, known_fingerprint(vae), "Connect the VAE that made it.")
    views = [chosen.matching(chosen.latent_format or "", shape) for shape in {entry.shape for entry in chosen.entries}]
    latents = {identity: latent for view in views for identity, latent in zip(view.ids, view.latents, strict=True)}
    ordered = [latents[entry.id].float() for entry in chosen.entries if entry.id in latents]
    return tuple(ExemplarSet.from_images(first_frame(vae, latent[None])).images[0] for latent in ordered)


def _found(name: str) -> FoundFiles:
    return find_exemplars(Path(folder_paths.get_input_directory()), name, MAX_EXEMPLARS)
