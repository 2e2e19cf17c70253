"""A Memory Bank on disk as a value on a wire."""

from __future__ import annotations

from comfy_api.latest import io

from ..stores.bank.snapshot import BankSnapshot
from ..stores.files import validate_bank_name
from .common.prompt_graph import noted_with
from .common.sockets import BankSocket
from .host.bank_folder import fingerprint_of_all, open_bank
from .host.messages import show
from .host.schema import schema_extras

NEWEST = -1
DEFAULT_NAME = "my pictures"
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
            description="Pictures of the past, kept on disk under a name. What depends on it runs again exactly when "
            "the bank has changed.",
            inputs=[
                io.String.Input(
                    "name",
                    default=DEFAULT_NAME,
                    tooltip="A name, not a path. Empty until Save to Memory Bank has made it.",
                ),
                io.Int.Input(
                    "revision",
                    default=NEWEST,
                    min=NEWEST,
                    max=2**31 - 1,
                    tooltip="-1 is the newest. Every picture remembers in its metadata which revision it was drawn "
                    "with: give that one, and the same seed draws the same picture again. 0 is the empty bank.",
                ),
            ],
            outputs=[
                BankSocket.Output("bank", display_name="bank", tooltip="The bank at this revision."),
                io.Int.Output("count", display_name="count", tooltip="How many pictures it holds."),
                io.Int.Output("current_revision", display_name="revision", tooltip="Which revision it is."),
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
            validate_bank_name(DEFAULT_NAME if name is None else name)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, name: str | None, revision: int | None) -> str:
        """Changes exactly when the bank does; what comes along a wire is None here."""
        if name is None:
            return fingerprint_of_all()
        if revision is None or revision == NEWEST:
            return open_bank(name).fingerprint()
        return open_bank(name).snapshot(revision).digest

    @classmethod
    def execute(cls, name: str, revision: int) -> io.NodeOutput:
        """Read the bank's database.

        Raises:
            ValueError: the name is not fit, there is no such revision, or the bank is damaged.
        """
        snapshot = open_bank(name).snapshot(None if revision == NEWEST else revision)
        metadata = cls.hidden.extra_pnginfo
        if metadata is None:
            # Prompts that are sent without the editor have none; the prompt itself is saved with images, too.
            metadata = noted_with(cls.hidden.prompt, cls.hidden.unique_id)
        _describe(snapshot, metadata)
        show(cls.hidden.unique_id, f"{len(snapshot)} pictures at revision {snapshot.revision}.")
        return io.NodeOutput(snapshot, len(snapshot), snapshot.revision)


def _describe(snapshot: BankSnapshot, metadata: dict[str, object] | None) -> None:
    """Add the bank's state to what the host saves with the pictures of this run."""
    if metadata is None:
        return
    banks = metadata.setdefault(METADATA_KEY, {})
    if isinstance(banks, dict):
        state = {"revision": snapshot.revision, "pictures": len(snapshot), "digest": snapshot.digest}
        banks[snapshot.name] = state
