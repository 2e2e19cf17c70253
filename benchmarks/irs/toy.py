"""A training set of known modes and models that have learned only some of them (arXiv 2411.16171, figures 6 to 9).

Every training image is a mode: a point near the centre of its class. A model samples a mode that it has learned and
adds a little noise. The learned fraction is known exactly; modes are lost by whole classes (inter-class) or by the same
fraction of every class (intra-class).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

CLASSES = 10
MODES_PER_CLASS = 80
TRAIN_SIZE = CLASSES * MODES_PER_CLASS

Loss = Literal["inter-class", "intra-class"]

_DIMENSION = 32
_CLASS_SPREAD = 2.0
_MODE_SPREAD = 1.0
# Far smaller than the distance of two modes, so that a sample's nearest training image is its own mode.
_NOISE = 0.1


@dataclass(frozen=True)
class Toy:
    """A training set.

    Attributes:
        modes: (800, 32) training images as features, class after class.
    """

    modes: Tensor

    @classmethod
    def create(cls, seed: int = 0) -> Toy:
        """Sample the classes and their modes."""
        generator = torch.Generator().manual_seed(seed)
        centres = torch.randn(CLASSES, 1, _DIMENSION, generator=generator) * _CLASS_SPREAD
        offsets = torch.randn(CLASSES, MODES_PER_CLASS, _DIMENSION, generator=generator) * _MODE_SPREAD
        return cls((centres + offsets).flatten(0, 1))

    def learned(self, share: float, loss: Loss) -> Tensor:
        """Which modes a model has learned.

        Args:
            share: fraction of the modes, rounded to whole classes, or to whole modes of every class.
            loss: whether the others are lost by class or from every class.

        Returns:
            Indices of modes, at least one.
        """
        grid = torch.arange(TRAIN_SIZE).reshape(CLASSES, MODES_PER_CLASS)
        if loss == "inter-class":
            return grid[: max(1, round(share * CLASSES))].flatten()
        return grid[:, : max(1, round(share * MODES_PER_CLASS))].flatten()

    def sample(self, count: int, learned: Tensor, seed: int) -> Tensor:
        """Samples (count, 32) of a model that has learned these modes."""
        generator = torch.Generator().manual_seed(seed)
        chosen = learned[torch.randint(len(learned), (count,), generator=generator)]
        return self.modes[chosen] + _NOISE * torch.randn(count, _DIMENSION, generator=generator)


def balanced_half(factors: int = 10) -> tuple[Tensor, Tensor]:
    """A training set, and one half of it with the same mean and the same covariance.

    The modes are the corners of a hypercube; the half has an even number of ones. Any two coordinates of either are
    independent fair coins, so that first and second moments agree exactly, and the Fréchet distance sees no difference.

    Args:
        factors: dimensions of the hypercube, at least 3.

    Returns:
        Modes (2^factors, factors) and the indices of the half.
    """
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * factors)
    even = torch.nonzero(corners.prod(1) > 0).flatten()
    return corners, even
