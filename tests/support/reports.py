"""Diversity Reports in graphs, with the options nodes that their inputs need."""

from __future__ import annotations

from typing import Any

from .graphs import Graph, Node

REAL = ("reference", "held_out", "exemplars", "groups", "clip_vision", "neighbours", "same_face")
PROTECTED = ("protected", "model", "before_samples", "shield_radius")
SETTINGS: dict[str, Any] = {"features": "random network", "tolerance": 1.0, "filename_prefix": ""}


def reported(graph: Graph, images: Any, **inputs: Any) -> Node:
    """A report on images; what the report itself has no input for goes through options nodes."""
    options: dict[str, Any] = {}
    for kind, names in (("DiversityReportOptions", REAL), ("DiversityReportProtectionOptions", PROTECTED)):
        given = {name: inputs.pop(name) for name in names if name in inputs}
        if given and (kind == "DiversityReportOptions" or "protected" in given):
            options = {"options": graph.add(kind, **given, **options)}
    return graph.add("DiversityReport", images=images, **{**SETTINGS, **inputs, **options})
