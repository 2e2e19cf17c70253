"""docs/api.md: the public names of the library, with signatures and first paragraphs, read from the source.

``python tests/project/api.py`` writes the page.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "api.md"
DOORS = ("guidance", "diffusers", "stores", "features", "metrics")
WIDTH = 100
"""Columns of a signature; longer ones have a line for each parameter."""

INTRODUCTION = """\
# API

The public names of the library: what its rooms export, and the functions of `kernels`. None of it needs ComfyUI. The
docstrings also say shapes, units, errors and sources; [architecture.md](architecture.md) shows how the rooms fit
together.

<!-- written by tests/project/api.py -->
"""

Function = ast.FunctionDef
Definition = ast.FunctionDef | ast.ClassDef


def page(root: Path = ROOT) -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for room in DOORS:
        path = root / room / "__init__.py"
        parts.append(f"## diversity_guidance.{room}\n\n{_first_paragraph(_parsed(path))}\n")
        found = [_definition(path, name) for name in _exported(_parsed(path))]
        known = {node.name: set(_members(node)) for node in found if isinstance(node, ast.ClassDef)}
        parts += [_described(node, "###", _inherited(node, known)) for node in found]
    parts.append(f"## diversity_guidance.kernels\n\n{_first_paragraph(_parsed(root / 'kernels' / '__init__.py'))}\n")
    for path in sorted((root / "kernels").glob("[!_]*.py")):
        tree = _parsed(path)
        parts.append(f"### kernels.{path.stem}\n\n{_first_paragraph(tree)}\n")
        parts += [_described(_definition(path, name), "####") for name in _exported(tree)]
    return "\n".join(parts)


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _body(tree: ast.Module) -> Iterator[ast.stmt]:
    """The statements of a module, those under a condition too."""
    for node in tree.body:
        yield from [*node.body, *node.orelse] if isinstance(node, ast.If) else [node]


def _exported(tree: ast.Module) -> list[str]:
    """The names in ``__all__``, or else of all public functions."""
    for node in _body(tree):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return [node.name for node in tree.body if isinstance(node, Function) and not node.name.startswith("_")]


def _definition(path: Path, name: str) -> Definition:
    """The function or class that a module defines, or imports from the package, under a name."""
    for node in _body(_parsed(path)):
        if isinstance(node, Definition) and node.name == name:
            return node
        if isinstance(node, ast.ImportFrom) and node.level and any(alias.name == name for alias in node.names):
            folder = path.parents[node.level - 1]
            return _definition(folder.joinpath(*(node.module or "").split(".")).with_suffix(".py"), name)
    raise ValueError(f"{path} has no function or class {name}.")


def _described(node: Definition, heading: str, inherited: frozenset[str] = frozenset()) -> str:
    """Heading, signature and first paragraph; of a class also a line for each public method of its own."""
    text = f"{heading} {node.name}\n\n```python\n{_signature(node)}\n```\n\n{_first_paragraph(node)}\n"
    if isinstance(node, ast.ClassDef):
        own = [line for name, line in _members(node).items() if name not in inherited]
        text += "".join(f"{'' if place else chr(10)}- {line}\n" for place, line in enumerate(own))
    return text


def _inherited(node: Definition, known: dict[str, set[str]]) -> frozenset[str]:
    """Names that a base class on the page describes already."""
    bases = [ast.unparse(base) for base in node.bases] if isinstance(node, ast.ClassDef) else []
    return frozenset().union(*(known.get(base, set()) for base in bases))


def _members(node: ast.ClassDef) -> dict[str, str]:
    """A line for each public method and property."""
    lines = {}
    for item in node.body:
        if isinstance(item, Function) and (not item.name.startswith("_") or item.name == "__call__"):
            names = ", ".join(name for name, _ in _parameters(item, own=True))
            shown = item.name if any("property" in ast.unparse(each) for each in item.decorator_list) else None
            lines[item.name] = f"`{shown or f'{item.name}({names})'}`: {_first_paragraph(item)}"
    return lines


def _signature(node: Definition) -> str:
    if isinstance(node, Function):
        after = f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
        return _wrapped(node.name, [text for _, text in _parameters(node)], after)
    for item in node.body:
        if isinstance(item, Function) and item.name == "__init__":
            return _wrapped(node.name, [text for _, text in _parameters(item, own=True)])
    fields = [_parameter(ast.unparse(item.target), item.annotation, item.value) for item in _fields(node)]
    return _wrapped(node.name, fields) if fields else f"class {node.name}"


def _fields(node: ast.ClassDef) -> Iterator[ast.AnnAssign]:
    return (item for item in node.body if isinstance(item, ast.AnnAssign) and ast.unparse(item.target)[0] != "_")


def _parameters(node: Function, *, own: bool = False) -> Iterator[tuple[str, str]]:
    """Name and text of each parameter; ``own`` leaves out the first one of a method."""
    given = node.args
    defaults = [None] * (len(given.args) - len(given.defaults)) + list(given.defaults)
    for place, (argument, default) in enumerate(zip_longest(given.args, defaults)):
        if not (own and place == 0):
            yield argument.arg, _parameter(argument.arg, argument.annotation, default)
    if given.kwonlyargs and not given.vararg:
        yield "*", "*"
    for star, argument in (("*", given.vararg), ("**", given.kwarg)):
        if argument is not None:
            yield star + argument.arg, _parameter(star + argument.arg, argument.annotation, None)
    for argument, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        yield argument.arg, _parameter(argument.arg, argument.annotation, default)


def _parameter(name: str, annotation: ast.expr | None, default: ast.expr | None) -> str:
    text = name if annotation is None else f"{name}: {ast.unparse(annotation)}"
    value = None if default is None else ast.unparse(default)
    if isinstance(default, ast.Call) and ast.unparse(default.func) == "field":
        given = {word.arg: ast.unparse(word.value) for word in default.keywords}
        value = f"{given['default_factory']}()" if "default_factory" in given else given.get("default")
    return text if value is None else f"{text} = {value}"


def _wrapped(name: str, parameters: list[str], after: str = "") -> str:
    line = f"{name}({', '.join(parameters)}){after}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{name}(", *(f"    {each}," for each in parameters), f"){after}"])


def _first_paragraph(node: ast.Module | Definition) -> str:
    return " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split()).replace("``", "`")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE.name} is written.\n")
