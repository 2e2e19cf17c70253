"""What a Protected Index's filter compares: estimates as a few coordinates, and the pairs that may be near.

Every rounding is part of a bound: what is passed over is farther than was asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.int64]

COARSE_ROUNDING = 2e-5
"""Relative error of coordinates in float32, with room."""

FAR = 1e12
"""Beyond this distance from the centre float32 may overflow in products; no reference is there."""


@dataclass(frozen=True)
class Candidates:
    """Pairs (query, reference) that may be closer than what was asked for, and all of them.

    Attributes:
        rows: number of the query, shape (M,).
        numbers: number of the reference, shape (M,).
        bounds: what their distance is at least, shape (M,), float64.
    """

    rows: Integers
    numbers: Integers
    bounds: Floats

    def __len__(self) -> int:
        return len(self.rows)

    def picked(self, which: NDArray[np.bool_] | Integers) -> Candidates:
        """Those where a mask is true, or at some places."""
        return Candidates(self.rows[which], self.numbers[which], self.bounds[which])

    @classmethod
    def none(cls) -> Candidates:
        """No pair."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))

    @classmethod
    def joined(cls, parts: list[Candidates]) -> Candidates:
        """All of several."""
        return cls(
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.numbers for part in parts]),
            np.concatenate([part.bounds for part in parts]),
        )


@dataclass(frozen=True)
class Projected:
    """Queries as the filter sees them.

    Attributes:
        coordinates: shape (B, m + 1), float64.
        norms: distance from the filter's centre, shape (B,).
    """

    coordinates: Floats
    norms: Floats

    @property
    def near(self) -> NDArray[np.bool_]:
        """Which of them are where float32 can compute."""
        return self.norms < FAR

    def picked(self, rows: Integers) -> Projected:
        """Some of them."""
        return Projected(self.coordinates[rows], self.norms[rows])


def conservative(computed: Floats, norms: Floats, rounding: float) -> Floats:
    """What a distance is at least where its bound was ``computed`` from coordinates that were rounded.

    A reference's coordinates err by up to rounding * |z|, with |z| <= |x| + d; solved for d.
    """
    return np.maximum((computed * (1 - rounding) - 2 * rounding * norms) / (1 + rounding), 0.0)


def widened(within: Floats, norms: Floats, rounding: float) -> Floats:
    """Below what the bounds that ``conservative`` takes stay for all distances below ``within``."""
    return (within + rounding * (2 * norms + within)) * (1 + rounding)


def squared_lengths(vectors: Floats) -> Floats:
    """Of vectors (n, m), shape (n,), summed in float64."""
    return np.einsum("nm,nm->n", vectors, vectors, dtype=np.float64)


def lengths(vectors: Floats) -> Floats:
    """Of vectors (n, m), shape (n,), summed in float64."""
    return np.sqrt(squared_lengths(vectors))


def outline(coordinates: Floats, cut: int) -> Floats:
    """The first coordinates, and the norm of all others, shape (n, cut + 1), float64."""
    outlined = np.array(coordinates[:, : cut + 1])
    outlined[:, cut] = lengths(coordinates[:, cut:])
    return outlined


def columns(coordinates: Floats, cut: int) -> NDArray[np.float32]:
    """The first coordinates, the norm of all others, and half of the squared norm of both, shape (n, cut + 2)."""
    return np.column_stack([outline(coordinates, cut), squared_lengths(coordinates) / 2]).astype(np.float32)
