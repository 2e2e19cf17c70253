"""How pipelines hold latents: as maps, or packed into a sequence of tokens."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """A layout of latents.

    Attributes:
        patch: side of the square of latents that is one token; 0 where latents are not packed.
        frames: whether ComfyUI's latents of the same model have an axis of frames, which packed ones lack.
    """

    patch: int = 0
    frames: bool = False

    def unpacked(self, latents: Tensor, grid: tuple[int, int]) -> Tensor:
        """Latents (B, C, ...) of a pipeline's own.

        Args:
            latents: (B, tokens, C * patch * patch), or (B, C, ...) where nothing is packed.
            grid: rows and columns of tokens.
        """
        if not self.patch:
            return latents
        size, (rows, columns) = self.patch, grid
        squares = latents.reshape(len(latents), rows, columns, -1, size, size).permute(0, 3, 1, 4, 2, 5)
        maps = squares.reshape(len(latents), -1, rows * size, columns * size)
        return maps.unsqueeze(2) if self.frames else maps

    def packed(self, latents: Tensor) -> Tensor:
        """Inverse of ``unpacked``."""
        if not self.patch:
            return latents
        maps, size = latents.squeeze(2) if self.frames else latents, self.patch
        rows, columns = (length // size for length in maps.shape[-2:])
        squares = maps.reshape(len(maps), -1, rows, size, columns, size).permute(0, 2, 4, 1, 3, 5)
        return squares.reshape(len(maps), rows * columns, -1)


MAPS = Layout()
FLUX = Layout(patch=2)
FLUX_2 = Layout(patch=1)
QWEN_IMAGE = Layout(patch=2, frames=True)
