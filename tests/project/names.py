"""The names and docstrings of a room, read from its source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

FOREIGN = (
    *("pictures?", "drawn", "start_noises?", "turns", "clearance", "clear_shields", "led_out", "shield_exit"),
    *("exclusion", "sparse_field", "radial_law", "stratified_lengths", "gathered", "seen_through", "movable"),
    *("widened", "outline", "near_product", "ways_out", "described", "approach", "guarded", "away_from"),
    *("(?:a|un)?likeness", "closeness", "novelty", "plates?", "relaxation", "fewest", "followed_by", "purpose"),
    *("recut", "bank_care", "sealed_json", "telling_write_failures", "caps?"),
)
"""Words and phrases, as patterns, that the field does not use; the vocabulary has better ones for each."""

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


def public_names(path: Path) -> Iterator[str]:
    """The public names of a file: the module, its definitions with their parameters, fields and constants."""
    yield path.stem
    tree = ast.parse(path.read_text(encoding="utf-8"))
    public = [place.node for place in _inside(tree, "", private=False) if not place.private]
    for body in (tree.body, *(node.body for node in public if isinstance(node, ast.ClassDef))):
        targets = [
            each
            for item in body
            if isinstance(item, ast.Assign)
            for target in item.targets
            for each in ast.walk(target)
        ]
        targets += [item.target for item in body if isinstance(item, ast.AnnAssign)]
        yield from (name.id for name in targets if isinstance(name, ast.Name) and not is_private(name.id))
    for node in public:
        yield node.name
        if not isinstance(node, ast.ClassDef):
            given = node.args
            yield from (each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs))


def foreign_words(name: str) -> list[str]:
    """The words and phrases of a name that stand in the left column of the vocabulary."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    found = [phrase for phrase in FOREIGN if re.search(rf"(?:^|_){phrase}(?:_|$)", words)]
    return found + [prefix for prefix in ("MOST_", "LEAST_") if name.startswith(prefix)]


def _inside(tree: ast.AST, prefix: str, *, private: bool) -> Iterator[Place]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Definition):
            hidden = private or is_private(node.name)
            yield Place(node, prefix + node.name, hidden)
            yield from _inside(node, f"{prefix}{node.name}.", private=hidden or not isinstance(node, ast.ClassDef))
        else:
            yield from _inside(node, prefix, private=private)
