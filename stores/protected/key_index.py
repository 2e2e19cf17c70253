"""Which content an index holds: joined indexes take each content once."""

from __future__ import annotations

from typing import NamedTuple

from .rows import Labels


class JoinResult(NamedTuple):
    """What joining another index brought.

    Attributes:
        taken: number of vectors taken over.
        repeated: number left out because their content is known under another name.
    """

    taken: int
    repeated: int


class KeyIndex:
    """Known vectors, by key, or by name for those without a key."""

    def __init__(self, labels: Labels) -> None:
        self._names: dict[str, str] = {}
        self._keyless: set[str] = set()
        self.add(labels)

    def add(self, labels: Labels) -> None:
        """Add known vectors."""
        for name, key in zip(labels.names, labels.keys, strict=True):
            if key:
                self._names.setdefault(key, name)
            else:
                self._keyless.add(name)

    def new(self, labels: Labels) -> tuple[list[int], int]:
        """Places of unknown content, each once, and how many of the rest are known under another name."""
        places: list[int] = []
        repeated = 0
        met: dict[str, str] = {}
        for place, (name, key) in enumerate(zip(labels.names, labels.keys, strict=True)):
            first = self._names.get(key, met.get(key))
            if first is not None:
                repeated += first != name
            elif key or name not in self._keyless:
                places.append(place)
                if key:
                    met[key] = name
        return places, repeated
