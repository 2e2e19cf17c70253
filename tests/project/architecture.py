"""The rooms of the house, the imports between them, and the diagram in docs/architecture.md that is drawn from these.

``python tests/project/architecture.py`` draws it again.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- drawn by tests/project/architecture.py -->\n", "<!-- end -->\n"

FLOORS = (
    ("kernels",),
    ("stores", "features"),
    ("guidance",),
    ("metrics",),
    ("embedded",),
    ("demo", "indexing"),
    ("diffusers",),
    ("nodes", "benchmarks"),
)
"""The rooms of the house from the ground up; a room imports only from floors below its own."""

ROOMS = tuple(room for floor in FLOORS for room in floor)


def allowed(room: str) -> set[str]:
    """The rooms that a room may import."""
    height = next(height for height, floor in enumerate(FLOORS) if room in floor)
    return {other for floor in FLOORS[:height] for other in floor}


def sources(room: str, root: Path = ROOT) -> list[Path]:
    """The Python files of a room, sorted."""
    return sorted((root / room).rglob("*.py"))


def imports(path: Path, root: Path = ROOT) -> Iterator[tuple[str, bool]]:
    """First part of the name of each import of a file, and whether it lies in the package.

    For what lies in the package that is the room, wherever in the file the import stands.
    """
    folder = path.relative_to(root).parent.parts
    for item in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(item, ast.ImportFrom):
            inside = folder[: len(folder) - item.level + 1] if item.level else ()
            parts = (*inside, *(item.module or "").split("."))
            if parts[0]:
                yield parts[0], bool(item.level)
            else:  # from ... import rooms
                yield from ((alias.name, True) for alias in item.names)
        elif isinstance(item, ast.Import):
            yield from ((alias.name.split(".")[0], False) for alias in item.names)


def arrows(root: Path = ROOT) -> dict[str, set[str]]:
    """The rooms that each room imports."""
    found: dict[str, set[str]] = {}
    for room in ROOMS:
        names = {name for path in sources(room, root) for name, is_ours in imports(path, root) if is_ours}
        found[room] = names & set(ROOMS) - {room}
    return found


def needed(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The arrows that do not follow from others: the transitive reduction of a graph.

    Raises:
        graphlib.CycleError: the graph has a circle.
    """
    reached: dict[str, set[str]] = {}
    for room in TopologicalSorter(graph).static_order():
        reached[room] = graph[room].union(*(reached[other] for other in graph[room]))
    return {room: {to for to in graph[room] if not any(to in reached[via] for via in graph[room])} for room in graph}


def diagram(root: Path = ROOT) -> str:
    """The rooms and their folders as Mermaid text, the highest room first."""
    lines = ["```mermaid", "graph TD"]
    kept = needed(arrows(root))
    for room in reversed(ROOMS):
        folders = [path.parent.name for path in sorted((root / room).glob("*/__init__.py"))]
        inside = f"<br/><small>{', '.join(folders)}</small>" if folders else ""
        lines.append(f'    {room}["<b>{room}</b>{inside}"]')
    lines += [f"    {room} --> {to}" for room in reversed(ROOMS) for to in ROOMS if to in kept[room]]
    return "\n".join([*lines, "```", ""])


def drawn(page: str, root: Path = ROOT) -> str:
    """A page with the diagram between its markers drawn again.

    Raises:
        ValueError: the page has no markers.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"The page has no line {BEGIN.strip()} with a line {END.strip()} after it.")
    return f"{before}{begin}\n{diagram(root)}\n{end}{after}"


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"{PAGE.name} is drawn.\n")
