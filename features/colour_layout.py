"""Where which colour is: a picture's coarse layout in opponent colours as a feature space."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from .space import as_pictures, unit_vectors

# Lightness, red against green, yellow against blue: orthonormal rows.
_OPPONENT_COLOURS = ((3**-0.5,) * 3, (2**-0.5, -(2**-0.5), 0.0), (6**-0.5, 6**-0.5, -2 * 6**-0.5))


class ColourLayout:
    """The picture reduced to a grid of cells, colours as departures from mid-grey.

    Cheap, smooth and easy to explain: two pictures are alike where the same colours stand in the same places. A uniform
    mid-grey picture has no direction: its vector is zero.
    """

    def __init__(self, cells: int = 8) -> None:
        """Choose the grid.

        Args:
            cells: along each side.

        Raises:
            ValueError: no cells.
        """
        if cells < 1:
            raise ValueError(f"Expected at least one cell along each side, got {cells}.")
        self.cells = cells

    @property
    def tag(self) -> str:
        """Name of the space."""
        return f"colour-layout-v1:{self.cells}"

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return 3 * self.cells**2

    @property
    def differentiable(self) -> bool:
        """Gradients flow to the pictures."""
        return True

    @property
    def duplicate_distance(self) -> float:
        """Distance below which two pictures are called near-duplicates."""
        return 0.06

    def __call__(self, items: Tensor) -> Tensor:
        """Unit vectors, shape (B, 3 cells^2), of pictures (B, 3, H, W) in 0 to 1 of any size.

        Raises:
            ValueError: another shape, or numbers that are not finite.
        """
        grid = interpolate(as_pictures(items), (self.cells, self.cells), mode="bilinear", antialias=True) - 0.5
        mixing = torch.tensor(_OPPONENT_COLOURS, device=grid.device)
        return unit_vectors(torch.einsum("oc,bchw->bohw", mixing, grid))
