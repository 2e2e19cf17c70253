"""Read references a chunk at a time, so that a bank of gigabytes is never copied or subtracted as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .chunk_size import chunk_size

Blocks = Tensor | Sequence[Tensor]
"""References as one tensor (N, ...) or several, in any floating dtype, numbered through all of them."""

Transform = Callable[[Tensor], Tensor]
"""Maps a chunk (n, D) row by row to the space of the comparison, without changing its argument."""


@dataclass(frozen=True)
class Elementwise:
    """The transform scale * value + offset.

    Attributes:
        scale: shape (D,).
        offset: shape (D,).
    """

    scale: Tensor
    offset: Tensor

    def __call__(self, chunk: Tensor, out: Tensor | None = None) -> Tensor:
        """Transform rows, shape (n, D), optionally into existing memory, which may be their own."""
        return torch.addcmul(self.offset, chunk, self.scale, out=out)


CPU_CHUNK_ELEMENTS = 1 << 19
"""2 MB of float32: a chunk that is used several times should stay in the processor's cache."""

DEVICE_CHUNK_ELEMENTS = 1 << 23
"""32 MB of float32: large enough to keep an accelerator busy, small beside any bank."""


def count_rows(references: Blocks) -> int:
    """Number of references in all blocks."""
    return sum(len(block) for block in _as_blocks(references))


def read_chunks(references: Blocks, like: Tensor, transform: Transform | None = None) -> Iterator[tuple[int, Tensor]]:
    """Yield (index of the first row, chunk of shape (n, D)) in the dtype and on the device of ``like``.

    A chunk is valid only until the next one: its memory is reused.

    Args:
        references: shape (N, ...) or several such blocks; rows flatten to D values.
        like: shape (B, D); gives dtype, device and D.
        transform: applied to every chunk.

    Raises:
        ValueError: the rows of a block have another number of values.
    """
    dimension = like.shape[1]
    chunk_rows = _chunk_rows(like)
    buffer = torch.empty((min(chunk_rows, count_rows(references)), dimension), dtype=like.dtype, device=like.device)
    offset = 0
    for block in _as_blocks(references):
        if len(block) and block[0].numel() != dimension:
            raise ValueError(
                f"References have {block[0].numel()} values each and estimates {dimension}: "
                "they must come from the same latent space and image size."
            )
        ready = block.dtype == like.dtype and block.device == like.device
        for start in range(0, len(block), chunk_rows):
            # Slice first: flattening a bank with another memory layout would copy all of it.
            chunk = block[start : start + chunk_rows].flatten(1)
            memory = buffer[: len(chunk)]
            if not ready:
                chunk = memory.copy_(chunk)
            if isinstance(transform, Elementwise):
                chunk = transform(chunk, out=memory)
            elif transform is not None:
                chunk = transform(chunk)
            yield offset + start, chunk
        offset += len(block)


def read_rows(
    references: Blocks, rows: Tensor, like: Tensor, transform: Transform | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (indices of some rows, chunk of shape (n, D) with these) in the dtype and on the device of ``like``.

    Args:
        references: as in ``read_chunks``.
        rows: indices of the rows to read, int64, ascending.
        like: shape (B, D); gives dtype, device and the size of a chunk.
        transform: applied to every chunk.
    """
    offset = 0
    for block in _as_blocks(references):
        wanted = rows[(rows >= offset) & (rows < offset + len(block))]
        for numbers in wanted.split(_chunk_rows(like)) if len(wanted) else ():
            chunk = block[(numbers - offset).to(block.device)].flatten(1).to(like)
            yield numbers, chunk if transform is None else transform(chunk)
        offset += len(block)


def _chunk_rows(like: Tensor) -> int:
    budget = CPU_CHUNK_ELEMENTS if like.device.type == "cpu" else DEVICE_CHUNK_ELEMENTS
    return max(1, chunk_size(budget) // max(like.shape[1], 1))


def _as_blocks(references: Blocks) -> Sequence[Tensor]:
    return (references,) if isinstance(references, Tensor) else references
