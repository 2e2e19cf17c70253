"""Parts of ComfyUI's node schema that only newer hosts know: passed where the host has them, left out elsewhere."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from comfy_api.latest import io


def schema_extras(**extras: Any) -> dict[str, Any]:
    """Those of the keyword arguments that this host's ``io.Schema`` knows."""
    known = {field.name for field in dataclasses.fields(io.Schema)}
    return {name: value for name, value in extras.items() if name in known}


def input_extras(kind: type, **extras: Any) -> dict[str, Any]:
    """Those of the keyword arguments that an input such as ``io.Float.Input`` knows on this host."""
    known = inspect.signature(kind).parameters
    return {name: value for name, value in extras.items() if name in known}
