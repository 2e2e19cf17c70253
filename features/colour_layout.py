"""Coarse colour layout of an image as a feature space."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from .space import as_images, unit_vectors

# Lightness, red against green, yellow against blue: orthonormal rows.
_OPPONENT_COLOURS = ((3**-0.5,) * 3, (2**-0.5, -(2**-0.5), 0.0), (6**-0.5, 6**-0.5, -2 * 6**-0.5))


class ColourLayout:
    """The image averaged over a grid of cells, in opponent colours relative to mid-grey.

    Two images are similar if the same colours are in the same places. A uniform mid-grey image has the zero vector.
    """

    differentiable = True
    duplicate_distance = 0.06

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
        self.tag = f"colour-layout-v1:{cells}"
        self.dimension = 3 * cells**2

    def __call__(self, items: Tensor) -> Tensor:
        """Unit vectors, shape (B, 3 cells^2), of images (B, 3, H, W) in 0 to 1 of any size.

        Raises:
            ValueError: another shape, or numbers that are not finite.
        """
        grid = interpolate(as_images(items), (self.cells, self.cells), mode="bilinear", antialias=True) - 0.5
        mixing = torch.tensor(_OPPONENT_COLOURS, device=grid.device)
        return unit_vectors(torch.einsum("oc,bchw->bohw", mixing, grid))
