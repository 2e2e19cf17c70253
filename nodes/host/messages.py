"""Sentences for the user: in the log, and on the face of a node."""

from __future__ import annotations

import logging

from comfy_execution.utils import get_executing_context
from server import PromptServer

logger = logging.getLogger("diversity_guidance")


def show(node_id: str | None, text: str) -> None:
    """Write a text on a node of the graph that is open in the browser; without a server, nothing happens."""
    server = getattr(PromptServer, "instance", None)
    if server is not None and node_id is not None:
        server.send_progress_text(text, node_id)


def show_on_executing_node(text: str) -> None:
    """Write a text on the node that is being executed, whichever pack it belongs to."""
    context = get_executing_context()
    show(None if context is None else context.node_id, text)
