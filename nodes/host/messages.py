"""Sentences for the user: in the log, and on the face of a node."""

from __future__ import annotations

import logging

from comfy_execution.utils import get_executing_context
from server import PromptServer

VERDICT = "verdict"
"""Under which name a node's ``ui`` holds what it did: a list of one {"text", "details"}."""

logger = logging.getLogger("diversity_guidance")


def show(node_id: str | None, text: str) -> None:
    """Write a text on a node of the graph that is open in the browser; without a server, nothing happens."""
    server = getattr(PromptServer, "instance", None)
    if server is not None and node_id is not None:
        server.send_progress_text(text, node_id)


def face(verdict: dict[str, str]) -> str:
    """A verdict as it stands on a node; some renderings show its lines as one."""
    return f"{verdict['text']}.\n{verdict['details']}"


def tell(node_id: str | None, verdict: dict[str, str]) -> None:
    """Show a verdict on a node that has run already: at once, and kept by the editor like what output nodes show.

    Args:
        node_id: the node.
        verdict: "text" and "details".
    """
    show(node_id, face(verdict))
    server, context = getattr(PromptServer, "instance", None), get_executing_context()
    if server is None or node_id is None or context is None or getattr(server, "client_id", None) is None:
        return
    message = {"node": node_id, "display_node": node_id, "output": {VERDICT: [verdict]}, "prompt_id": context.prompt_id}
    server.send_sync("executed", message, server.client_id)


def show_on_executing_node(text: str) -> None:
    """Write a text on the node that is being executed, whichever pack it belongs to."""
    context = get_executing_context()
    show(None if context is None else context.node_id, text)
