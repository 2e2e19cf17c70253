"""A Protected Index during one sampling run."""

from __future__ import annotations

from torch import Tensor

from .protected_index import Hits, ProtectedIndex


class Watch:
    """Asks an index in every step of one run.

    Args:
        index: the index.
    """

    def __init__(self, index: ProtectedIndex) -> None:
        self.index = index
        self.searched = 0
        self.skipped = 0
        self.candidates_read = 0

    def within(self, points: Tensor, radius: float) -> Hits:
        """The same as ``ProtectedIndex.within`` of the same points."""
        self.searched += len(points)
        return self.index.within(points, radius)
