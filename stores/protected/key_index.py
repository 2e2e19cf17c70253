"""What an index holds already, by content: where indexes are joined, each content is taken over once."""

from __future__ import annotations

from typing import NamedTuple

from .rows import Labels


class JoinResult(NamedTuple):
    """What joining another index brought.

    Attributes:
        taken: how many vectors were taken over.
        repeated: how many were left out because their content was here, under another name.
    """

    taken: int
    repeated: int


class KeyIndex:
    """KeyIndex by their keys; what has no key is known by its name.

    Args:
        labels: of what is held.
    """

    def __init__(self, labels: Labels) -> None:
        self._names: dict[str, str] = {}
        self._keyless: set[str] = set()
        self.add(labels)

    def add(self, labels: Labels) -> None:
        """Remember what is held from now on."""
        for name, key in zip(labels.names, labels.keys, strict=True):
            if key:
                self._names.setdefault(key, name)
            else:
                self._keyless.add(name)

    def new(self, labels: Labels) -> tuple[list[int], int]:
        """Places of what is not held, each content once, and how many of the others are held under another name."""
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
