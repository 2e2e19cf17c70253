"""Sentences for the user, in the log and on nodes."""

from __future__ import annotations

import logging
from typing import Any

from comfy_execution.utils import get_executing_context
from server import PromptServer

VERDICT = "verdict"
"""Key of a node's ``ui`` for a list of one {"text", "details"} that says what the node did."""

logger = logging.getLogger("diversity_guidance")


def show(node_id: str | None, text: str) -> None:
    """Show a text on a node in the browser; does nothing without a server."""
    server = getattr(PromptServer, "instance", None)
    if server is not None and node_id is not None:
        server.send_progress_text(text, node_id)


def lasting(node_id: str | None, text: str) -> dict[str, Any]:
    """Show a text on a node, and give the ``ui`` by which it stays there after a reload."""
    show(node_id, text)
    return {VERDICT: [{"text": "", "details": text}]}


def face(verdict: dict[str, str]) -> str:
    """A verdict as shown on a node; some renderings join its lines."""
    return "\n".join(filter(None, (verdict["text"] and f"{verdict['text']}.", verdict["details"])))


def tell(node_id: str | None, verdict: dict[str, str]) -> None:
    """Show a verdict on a node that has already run; the editor keeps it as it keeps the output of output nodes.

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
    """Show a text on the executing node, of whichever pack."""
    context = get_executing_context()
    show(None if context is None else context.node_id, text)
