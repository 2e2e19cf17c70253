"""Parts of ComfyUI's node schema that only newer hosts have; left out on older ones."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from comfy_api.latest import io


def schema_extras(**extras: Any) -> dict[str, Any]:
    """The keyword arguments that this host's ``io.Schema`` has."""
    known = {field.name for field in dataclasses.fields(io.Schema)}
    return {name: value for name, value in extras.items() if name in known}


def advanced(kind: Any, name: str, **arguments: Any) -> io.Input:
    """An advanced widget: folded where the host can, and optional, so that prompts may leave it out.

    Args:
        kind: such as ``io.Float.Input``.
        name: of the input; the parameter of ``execute`` must have the same default.
        arguments: of the input, including its default.
    """
    extras = {"advanced": True} if "advanced" in inspect.signature(kind).parameters else {}
    return kind(name, optional=True, **arguments, **extras)
