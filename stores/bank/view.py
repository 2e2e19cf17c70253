"""A bank's latents in memory, as one tensor that the views of the next queues share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from .entries import BankEntry

SPARE = 1 / 16
"""Of the rows: memory for as many more behind them, which takes none before it is written."""

MIN_SPARE_BYTES = 1 << 23


class SharedRows:
    """Rows in memory, and behind them room for more; views are ranges of them, and never change.

    Args:
        shape: of a row.
        dtype: of the values.
        count: of rows that will be filled.
    """

    def __init__(self, shape: Sequence[int], dtype: torch.dtype, count: int) -> None:
        size = max(torch.Size(shape).numel() * dtype.itemsize, 1)
        spare = max(int(count * SPARE), min(count, MIN_SPARE_BYTES // size))
        with torch.inference_mode(False):
            self._values = torch.empty((count + spare, *shape), dtype=dtype)
        self._filled = count
        self._lock = Lock()

    def rows(self, begin: int, end: int) -> Tensor:
        """A range of rows; later writes behind it do not count as changes of it."""
        with torch.inference_mode(False):
            return self._values.data[begin:end]

    def claim(self, begin: int, count: int) -> Tensor | None:
        """Room for so many rows from ``begin`` on, to be filled once; None if another view has it or it is full."""
        with self._lock:
            if self._filled != begin or begin + count > len(self._values):
                return None
            self._filled += count
        return self.rows(begin, begin + count)


@dataclass(frozen=True, eq=False)
class BankView:
    """A bank's latents of one shape.

    Attributes:
        latents: shape (N, C, ...), fp16, contiguous, on the CPU, raw VAE space; shared, so never change them in place.
        entries: their metadata, in the bank's order.
        left_out: number of entries of another shape.
        passed_over: a sentence for each flaw of an entry of any shape, or of a part of one.
        lost: a sentence for each entry of any shape that cannot be used.
        name: the bank's name.
        shared: what the latents are a range of; None for a tensor of their own.
        begin: of that range.
    """

    latents: Tensor
    entries: tuple[BankEntry, ...]
    left_out: int
    passed_over: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    name: str = ""
    shared: SharedRows | None = field(default=None, repr=False)
    begin: int = 0

    def __len__(self) -> int:
        return len(self.entries)

    def __reduce__(self) -> tuple[Any, ...]:
        # Of a range, torch would store all that it is a range of.
        facts = self.entries, self.left_out, self.passed_over, self.lost, self.name
        return BankView, (self.latents.clone(), *facts)

    @property
    def ids(self) -> tuple[str, ...]:
        """Id of each latent."""
        return tuple(entry.id for entry in self.entries)

    @property
    def seeds(self) -> tuple[int | None, ...]:
        """Seed of each latent; None where unknown."""
        return tuple(entry.seed for entry in self.entries)

    @property
    def unreadable(self) -> str:
        """What to tell of the entries that cannot be used; "" for none."""
        if not self.lost:
            return ""
        count = len(self.lost)
        told = "1 entry" if count == 1 else f"{count} entries"
        return f"{told} of the bank '{self.name}' could not be read. {self.lost[0]}"

    @property
    def keys(self) -> tuple[str, ...]:
        """Equal only for equal latents: the ids are hashes of them."""
        return self.ids

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one latent."""
        return tuple(self.latents.shape[1:])

    def kept_by(self, entries: tuple[BankEntry, ...]) -> int:
        """With how many of the view's last entries these begin, if all before are gone and none between; or 0."""
        if not entries or entries[0] not in self.entries:
            return 0
        kept = self.entries[self.entries.index(entries[0]) :]
        return len(kept) if kept == entries[: len(kept)] else 0

    def get_ram_usage(self) -> int:
        """Bytes held in memory, with the room behind them."""
        return self.latents.untyped_storage().nbytes()
