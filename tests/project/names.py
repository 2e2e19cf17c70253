"""The names and docstrings of a room, read from its source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Place(NamedTuple):
    """A function or class of a file.

    Attributes:
        node: its syntax tree.
        name: with the names of the classes and functions around it, such as "Trace.summary".
        private: whether it, or what it stands in, begins with an underscore, or it stands in a function.
    """

    node: Definition
    name: str
    private: bool


def definitions(path: Path) -> list[Place]:
    """All functions and classes of a file, nested ones included."""
    return list(_inside(ast.parse(path.read_text(encoding="utf-8")), "", private=False))


def docstring_lines(node: Definition) -> int:
    """How many lines the docstring of a definition has; 0 without one."""
    text = ast.get_docstring(node, clean=False)
    return 0 if text is None else text.count("\n") + 1


def is_private(name: str) -> bool:
    """Whether a name begins with an underscore; a dunder name belongs to the language."""
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def _inside(tree: ast.AST, prefix: str, *, private: bool) -> Iterator[Place]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Definition):
            hidden = private or is_private(node.name)
            yield Place(node, prefix + node.name, hidden)
            yield from _inside(node, f"{prefix}{node.name}.", private=hidden or not isinstance(node, ast.ClassDef))
        else:
            yield from _inside(node, prefix, private=private)
