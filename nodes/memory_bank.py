"""A Memory Bank on disk as a value on a wire."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..stores.bank.exchange.recipient import load_named
from ..stores.bank.snapshot import BankSnapshot
from ..stores.encoders import check_encoder
from ..stores.files import validate_name
from .common.prompt_graph import noted_with
from .common.sockets import BankSocket
from .common.strip import strip_of
from .host.folders import fingerprint_of_banks, open_bank
from .host.messages import lasting
from .host.networks.vae_fingerprint import known_fingerprint
from .host.schema import advanced, schema_extras

NEWEST = -1
DEFAULT_NAME = "my images"
METADATA_KEY = "diversity_banks"


class DiversityMemoryBank(io.ComfyNode):
    """Reads a named bank, at its newest or an earlier revision."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="DiversityMemoryBank",
            display_name="Load Memory Bank",
            category="diversity/memory",
            description="Loads earlier images that were saved on disk under a name. Nodes that depend on the bank run "
            "again exactly when it has changed.",
            inputs=[
                io.String.Input(
                    "name",
                    default=DEFAULT_NAME,
                    tooltip="Name of the bank, not a path. A bank that does not exist yet is empty.",
                ),
                io.Int.Input(
                    "revision",
                    default=NEWEST,
                    min=NEWEST,
                    max=2**31 - 1,
                    tooltip="Which state of the bank to load. -1 is the newest, 0 the empty bank. Every image notes in "
                    "its metadata which revision it was generated with: with that revision, the same seed generates "
                    "the same image again.",
                ),
                advanced(
                    io.String.Input,
                    "digest",
                    default="",
                    tooltip="Hash of the revision's content, filled in when an image is saved. If revision is 0 or "
                    "more, another bank of the same name is refused; if it is -1, the node says so. Empty: not "
                    "compared.",
                ),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="The model's VAE. A bank that was made with another VAE is refused.",
                ),
            ],
            outputs=[
                BankSocket.Output("bank", display_name="bank", tooltip="The bank at this revision."),
                io.Int.Output("count", display_name="count", tooltip="How many images the bank holds."),
                io.Int.Output("current_revision", display_name="revision", tooltip="The revision that was loaded."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.extra_pnginfo, io.Hidden.prompt],
            **schema_extras(
                search_aliases=["memory", "history", "past images", "repeat", "duplicate", "novelty", "diversity"]
            ),
        )

    @classmethod
    def validate_inputs(cls, name: str | None = None) -> bool | str:
        """Refuse names that could be paths; one that comes along a wire is None here."""
        try:
            validate_name(DEFAULT_NAME if name is None else name, "bank")
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, name: str | None, revision: int | None, **_: Any) -> str:
        """Changes exactly when the bank does; what comes along a wire is None here."""
        if name is None:
            return fingerprint_of_banks()
        if revision is None or revision == NEWEST:
            return open_bank(name).fingerprint()
        return open_bank(name).snapshot(revision).digest

    @classmethod
    def execute(cls, name: str, revision: int, digest: str = "", vae: Any = None) -> io.NodeOutput:
        """Read the bank's database.

        Raises:
            ValueError: the name is not fit, there is no such revision, it is another bank's or another VAE's, or the
                bank is damaged.
        """
        snapshot, told = load_named(open_bank(name), None if revision == NEWEST else revision, digest)
        check_encoder(
            f"The bank '{name}'",
            snapshot.encoder,
            known_fingerprint(vae),
            "Use a bank of this model, or connect the VAE that made it.",
        )
        metadata = cls.hidden.extra_pnginfo
        if metadata is None:
            # Prompts that are sent without the editor have none; the prompt itself is saved with images, too.
            metadata = noted_with(cls.hidden.prompt, cls.hidden.unique_id)
        _describe(snapshot, metadata)
        sentences = [f"{len(snapshot)} images at revision {snapshot.revision}.", *told]
        if snapshot.passed_over:
            sentences.append(f"{len(snapshot.passed_over)} are skipped, such as: {snapshot.passed_over[0]}")
        told = lasting(cls.hidden.unique_id, " ".join(sentences))
        return io.NodeOutput(snapshot, len(snapshot), snapshot.revision, ui={**told, **strip_of(snapshot)})


def _describe(snapshot: BankSnapshot, metadata: dict[str, object] | None) -> None:
    """Add the bank's state to what the host saves with the pictures of this run."""
    if metadata is None:
        return
    banks = metadata.setdefault(METADATA_KEY, {})
    if isinstance(banks, dict):
        _pin(metadata.get("workflow"), snapshot)
        state = {"revision": snapshot.revision, "images": len(snapshot), "digest": snapshot.digest}
        banks[snapshot.name] = state


def _pin(workflow: Any, snapshot: BankSnapshot) -> None:
    """Write the bank's digest into the widgets of this bank's nodes in the workflow that is saved with the images."""
    if not isinstance(workflow, dict):
        return
    definitions = workflow.get("definitions")
    subgraphs = definitions.get("subgraphs", []) if isinstance(definitions, dict) else []
    for graph in (workflow, *(found for found in subgraphs if isinstance(found, dict))):
        for node in graph.get("nodes", []):
            if not isinstance(node, dict) or node.get("type") != DiversityMemoryBank.__name__:
                continue
            widgets = node.get("widgets_values")
            if not isinstance(widgets, list) or widgets[:1] != [snapshot.name] or len(widgets) < 2:
                continue
            if widgets[1] in (NEWEST, snapshot.revision):
                widgets[2:3] = [snapshot.digest]
