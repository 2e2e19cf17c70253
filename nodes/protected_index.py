"""A Protected Index on disk as a value on a wire."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..guidance.base import shape_text
from ..stores.encoders import check_encoder
from ..stores.protected.spaces import encoder_of, latent_format_of, name_of
from .common.sockets import IndexSocket
from .host.folders import DEFAULT_INDEX, fingerprint_of_indexes, index_fingerprint, index_path, open_index
from .host.messages import lasting
from .host.networks.vae_fingerprint import known_fingerprint
from .host.schema import schema_extras


class DiversityProtectedIndex(io.ComfyNode):
    """Opens a named index."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="DiversityProtectedIndex",
            display_name="Load Protected Index",
            category="diversity/protection",
            description="Loads images that must never be generated, up to millions, which are kept on disk under a "
            "name. Sparse Repellency keeps away from every one of them.",
            inputs=[
                io.String.Input(
                    "name",
                    default=DEFAULT_INDEX,
                    tooltip="Name of the index, not a path: a folder in models/diversity_indexes.",
                ),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="The model's VAE. An index that was built with another VAE is refused. Not connected: not "
                    "checked, and the node says so.",
                ),
            ],
            outputs=[
                IndexSocket.Output(
                    "index",
                    display_name="protected",
                    tooltip="The index, for Sparse Repellency and the Diversity Report.",
                ),
                io.Int.Output("count", display_name="count", tooltip="How many images the index protects."),
            ],
            hidden=[io.Hidden.unique_id],
            **schema_extras(
                search_aliases=["protect", "shield", "privacy", "copyright", "memorization", "duplicate", "diversity"]
            ),
        )

    @classmethod
    def validate_inputs(cls, name: str | None = None) -> bool:
        """Refuse names that could be paths; one that comes along a wire is None here."""
        index_path(DEFAULT_INDEX if name is None else name)
        return True

    @classmethod
    def fingerprint_inputs(cls, name: str | None, **_: Any) -> str:
        """Changes exactly when the index does; what comes along a wire is None here."""
        return fingerprint_of_indexes() if name is None else index_fingerprint(name)

    @classmethod
    def execute(cls, name: str, vae: Any = None) -> io.NodeOutput:
        """Open it.

        Raises:
            ValueError: the name is not fit, there is no such index, or it is damaged, of another version or of another
                VAE.
        """
        index = open_index(name)
        held, given = encoder_of(index.space), known_fingerprint(vae)
        check_encoder(
            f"The protected index '{name}'",
            held,
            given,
            "It would protect nothing here. Build an index with this VAE, or connect the VAE that it was built with.",
        )
        sentences = [f"{len(index):,} images are protected: {name_of(index.space)} of {shape_text(index.shape)}."]
        if latent_format_of(index.space) and not (held and given):
            unknown = "connect the model's VAE" if held else "the index does not say which one it was built with"
            sentences.append(f"The VAE was not checked: {unknown}.")
        return io.NodeOutput(index, len(index), ui=lasting(cls.hidden.unique_id, " ".join(sentences)))
