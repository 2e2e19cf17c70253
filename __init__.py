"""Diversity Guidance: a ComfyUI node pack and, at the same time, the Python package ``diversity_guidance``.

Nothing of the host is imported here, so that the package works (and its tests are collected) without ComfyUI.
"""

from __future__ import annotations

import logging
from typing import Any

__version__ = "0.1.0"

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> Any:
    """Return the pack's extension; ComfyUI calls this when it loads the folder."""
    try:
        from .nodes import DiversityExtension

        return DiversityExtension()
    except Exception:
        # The host prints one line without a traceback; whoever has to mend it needs the whole story.
        logging.exception("Diversity Guidance could not be loaded")
        raise


__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
