"""Node ids as ComfyUI Manager's scanner finds them: by reading the source, without running it."""

from __future__ import annotations

import ast
from pathlib import Path

from .host_checkouts import PACK


def node_classes() -> dict[str, tuple[Path, ast.ClassDef]]:
    """File and class of every node by its id: direct subclasses of ComfyNode with a literal node_id in their Schema.

    Raises:
        AssertionError: a node has no literal id, or two nodes have the same.
    """
    found: dict[str, tuple[Path, ast.ClassDef]] = {}
    for path in sorted((PACK / "nodes").rglob("*.py")):
        for item in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(item, ast.ClassDef) and any(ast.unparse(base) == "io.ComfyNode" for base in item.bases):
                ids = [
                    keyword.value.value
                    for call in ast.walk(item)
                    if isinstance(call, ast.Call) and ast.unparse(call.func) == "io.Schema"
                    for keyword in call.keywords
                    if keyword.arg == "node_id" and isinstance(keyword.value, ast.Constant)
                ]
                assert len(ids) == 1, f"{item.name} in {path.name} has no literal node_id"
                assert ids[0] not in found, f"{ids[0]} is the id of two nodes"
                found[ids[0]] = path, item
    return found
